package profile_test

import (
	"context"
	"fmt"
	"log"

	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/train/profile"
)

// The program that calls Hardware must, started as `worker`, call launch.Work
// with profile.Services.
func ExampleHardware() {
	r, err := profile.Hardware(context.Background(), profile.Options{Workers: 4})
	if err != nil {
		log.Fatal(err)
	}
	sum := cluster.Exchange{Kind: "all_reduce", Bytes: 4 << 20, Group: cluster.Group{Ranks: 2, Stride: 2}}
	fmt.Printf("an all-reduce takes %.4f s\n", r.Cluster.Time(sum))
}
