package comm

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkAllReduce measures all-reduces over an embedded server, all ranks in
// this process. MB/s is the bus bandwidth by the convention of nccl-tests:
// 2(w-1)/w of the tensor's bytes per call.
func BenchmarkAllReduce(b *testing.B) {
	for _, transport := range []string{"nats", "tcp", "sealed", "shm", "local"} {
		for _, size := range []int{2, 4} {
			for _, n := range []int{1 << 10, 64 << 10, 512 << 10, 1 << 20, 16 << 20, 64 << 20} {
				b.Run(fmt.Sprintf("%s/w=%d/%dKB", transport, size, n>>10), func(b *testing.B) {
					var world []Transport
					switch sessions := func() []*Session { return dialAll(b, startServer(b).Endpoint(), size) }; transport {
					case "nats":
						world = natsWorld(b, sessions(), TransportOptions{})
					case "tcp":
						world, _ = planeWorld(b, sessions(), TCP, nil, TransportOptions{})
					case "shm":
						world, _ = planeWorld(b, sessions(), SHM, nil, TransportOptions{})
					case "sealed":
						world, _ = planeWorld(b, sessions(), TCP, apart(size), TransportOptions{})
					default:
						world = Local(size)
					}
					benchmarkAllReduce(b, world, n/4)
				})
			}
		}
	}
}

func benchmarkAllReduce(b *testing.B, world []Transport, n int) {
	size := len(world)
	b.SetBytes(int64(2 * (size - 1) * 4 * n / size))
	b.ReportAllocs()
	groups := make([]*Group, size)
	data := make([][]float32, size)
	for rank := range size {
		g, err := NewGroup(world[rank], 0, every(size))
		if err != nil {
			b.Fatal(err)
		}
		groups[rank], data[rank] = g, make([]float32, n)
	}
	b.ResetTimer()
	onAll(b, size, func(rank int) error {
		for range b.N {
			if err := groups[rank].AllReduce(context.Background(), "bench", data[rank]); err != nil {
				return err
			}
		}
		return nil
	})
	b.StopTimer()
	closeAll(b, world)
}

// BenchmarkStream measures one-way transfer of activations, as between stages.
func BenchmarkStream(b *testing.B) {
	for _, n := range []int{4 << 10, 1 << 20, 16 << 20} {
		b.Run(fmt.Sprintf("nats/%dKB", n>>10), func(b *testing.B) {
			world := natsWorld(b, dialAll(b, startServer(b).Endpoint(), 2), TransportOptions{})
			b.SetBytes(int64(n))
			b.ReportAllocs()
			b.ResetTimer()
			onAll(b, 2, func(rank int) error {
				x := make([]float32, n/4)
				for i := range b.N {
					var err error
					if tag := (Tag{Step: uint64(i)}); rank == 0 {
						err = world[0].Send(context.Background(), 1, tag, x)
					} else {
						err = world[1].Recv(context.Background(), 0, tag, x)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
			b.StopTimer()
			closeAll(b, world)
		})
	}
}
