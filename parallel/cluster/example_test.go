package cluster_test

import (
	"fmt"
	"os"

	"github.com/galvani-ml/galvani/parallel/cluster"
)

// The sum of a layer's gradients over 16 devices in two hosts, and over the
// pairs across them, which share the way between the hosts.
func Example() {
	c, err := cluster.Preset("a100-16")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c)
	for _, g := range []cluster.Group{{Ranks: 8, Stride: 1}, {Ranks: 16, Stride: 1}, {Ranks: 2, Stride: 8}} {
		e := cluster.Exchange{Kind: "all_reduce", Bytes: 256 << 20, Group: g}
		flow := c.Flow(e)
		fmt.Printf("%2d ranks, stride %d: %4.1f ms over the %s\n", g.Ranks, g.Stride, 1e3*flow.Time(), c.Links[flow.Link].Name)
	}
	linear := cluster.Op{Kind: "linear", Count: 4, FLOPs: 1e12, Bytes: 1 << 30}
	fmt.Printf("4 products: %.1f ms\n", 1e3*c.Device.Time(linear, "bf16"))
	// Output:
	// a100-16: 2 hosts of 8 devices (A100 80GB, 80 GiB each)
	//  8 ranks, stride 1:  2.4 ms over the NVLink
	// 16 ranks, stride 1: 11.6 ms over the network
	//  2 ranks, stride 8: 33.0 ms over the network
	// 4 products: 5.4 ms
}

// Two workers a core of a small machine, which meet at a NATS server.
func ExampleCluster_Describe() {
	c, err := cluster.Parse([]byte(`{
		"schema": "galvani/cluster/v1", "name": "laptop", "hosts": 1, "per_host": 4, "cores": 2, "overlap": 1.5,
		"device": {"name": "worker", "memory": 1073741824, "bandwidth": 8e9, "launch": 2e-6,
			"rates": [{"precision": "fp32", "per_second": 5e10}]},
		"links": [{"name": "nats", "span": 4, "latency": 1e-4, "bandwidth": 1e9, "shared": "all"}]
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Describe(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// laptop: 1 host of 4 devices (worker, 1 GiB each)
	// device   memory at 8 GB/s, 2 us an operation, all of a host on 2 threads
	// rate     50 GFLOP/s in fp32
	// link     nats: joins 4 devices, 1 GB/s each way for all together, 100 us a hop
	// overlap  both run 1.5 times slower
}
