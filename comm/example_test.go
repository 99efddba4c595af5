package comm_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/galvani-ml/galvani/comm"
)

// Three ranks in one process sum their gradients.
func ExampleGroup() {
	ranks := []int{0, 1, 2}
	var wg sync.WaitGroup
	for _, t := range comm.Local(len(ranks)) {
		wg.Go(func() {
			defer t.Close()
			g, err := comm.NewGroup(t, 0, ranks)
			if err != nil {
				log.Fatal(err)
			}
			grads := []float32{1, 10, float32(g.Rank())}
			if err := g.AllReduce(context.Background(), "grads", grads); err != nil {
				log.Fatal(err)
			}
			if g.Rank() == 0 {
				fmt.Println(grads)
			}
		})
	}
	wg.Wait()
	// Output: [3 30 3]
}

// A coordinator with an embedded server and one worker, here in one process.
func ExampleCoordinator() {
	ctx := context.Background()
	server, err := comm.Start(comm.ServerOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Shutdown()
	job := comm.NewJob()

	worker := func() error {
		session, err := comm.Dial(ctx, server.Endpoint(), "worker")
		if err != nil {
			return err
		}
		defer session.Close()
		member, err := comm.Join(ctx, session, comm.JoinOptions{Job: job, Rank: comm.AnyRank})
		if err != nil {
			return err
		}
		defer member.Close()
		spec, err := member.Spec(ctx)
		if err != nil {
			return err
		}
		return member.ReportAck(ctx, "done", append([]byte("trained "), spec...))
	}

	session, err := comm.Dial(ctx, server.Endpoint(), "coordinator")
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	c, err := comm.NewCoordinator(ctx, session, comm.CoordinatorOptions{Job: job, Workers: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ended := make(chan error)
	go func() { ended <- worker() }()
	if _, err := c.WaitJoined(ctx); err != nil {
		log.Fatal(err)
	}
	if err := c.Distribute(ctx, func(int) []byte { return []byte("gpt-small") }); err != nil {
		log.Fatal(err)
	}
	ev := <-c.Events()
	fmt.Printf("rank %d %s: %s\n", ev.Rank, ev.Kind, ev.Data)
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// Output: rank 0 done: trained gpt-small
}
