package profile

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/galvani-ml/galvani/train/launch"
)

// TestMain makes this binary, started as `worker`, a worker process.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		if err := launch.Work(context.Background(), os.Stdin, Services()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func TestX(t *testing.T) {
	o := Options{Say: func(a, b string) { fmt.Println(a, b) }}.withDefaults()
	start := time.Now()
	f, err := run(t.Context(), o, o.spec())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(time.Since(start))
	for _, s := range f.Exchanges {
		for i, b := range s.Bytes {
			fmt.Printf("%-15s %v %9d %10.1f us %.0f%%\n", s.Kind, s.Layout, b, s.Times[i].Seconds*1e6, s.Times[i].Spread*100)
		}
	}
	for _, r := range f.Rates {
		fmt.Printf("%s %s %d %.1f GF %.0f%%\n", r.Kind, r.Precision, r.FLOPs, float64(r.FLOPs)/r.Time.Seconds/1e9, r.Time.Spread*100)
	}
	fmt.Println(float64(f.Bytes)/f.Bandwidth.Seconds/1e9, "GB/s", f.Launch, f.Overlap, f.Overlap.slowdown())
}
