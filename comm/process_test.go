package comm

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// detectionBound is what the design promises: lease 2 s, two pings of 500 ms.
const detectionBound = 3 * time.Second

// workerProcess is the life of a worker that only keeps its lease.
func workerProcess(id string) int {
	ctx := context.Background()
	e := Endpoint{URL: os.Getenv("COMM_TEST_URL"), Seed: os.Getenv("COMM_TEST_SEED")}
	s, err := Dial(ctx, e, "worker")
	if err != nil {
		return 1
	}
	m, err := Join(ctx, s, JoinOptions{Job: Job{ID: id, Epoch: 1}, Rank: 0})
	if err != nil {
		return 1
	}
	<-m.Done()
	return 0
}

func startWorker(t *testing.T, e Endpoint, job Job) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "COMM_TEST_URL="+e.URL, "COMM_TEST_SEED="+e.Seed, "COMM_TEST_WORKER="+job.ID)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// A worker that is killed or suspended is found out, with its rank, in time.
func TestLostProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes and waits for real leases; run without -short")
	}
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(sig.String(), func(t *testing.T) {
			e := startServer(t).Endpoint()
			job := NewJob()
			c, err := NewCoordinator(testContext(t), dial(t, e), CoordinatorOptions{Job: job, Workers: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			worker := startWorker(t, e, job)
			if _, err := c.WaitJoined(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if err := worker.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			select {
			case <-c.Done():
			case <-time.After(detectionBound):
				t.Fatalf("%v after %v", c.Err(), detectionBound)
			}
			if pe := wantAs[*PeerError](t, c.Err()); pe.Rank != 0 || !strings.Contains(pe.Error(), fmt.Sprint(worker.Process.Pid)) {
				t.Fatal(pe)
			}
		})
	}
}

// externalServer builds and runs a nats-server as a process of its own.
func externalServer(t *testing.T, args ...string) (*exec.Cmd, string) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "nats-server")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("building nats-server: %v\n%s", err, out)
	}
	cmd := exec.Command(bin, append([]string{"-a", "127.0.0.1", "-p", "-1"}, args...)...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var addr string
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), "Server is ready") {
		if _, after, ok := strings.Cut(lines.Text(), "client connections on "); ok {
			addr = after
		}
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		t.Fatalf("nats-server says no address: %v", err)
	}
	return cmd, addr
}

// A job over a plain external server, which is then killed.
func TestExternalServer(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs a nats-server; run without -short")
	}
	before := goleak.IgnoreCurrent()
	server, addr := externalServer(t, "--user", "galvani", "--pass", "hunter2")
	sessions := dialAll(t, Endpoint{URL: "nats://galvani:hunter2@" + addr}, 3)
	world := natsWorld(t, sessions, TransportOptions{})
	errs := make(chan error, 3)
	ready := make(chan struct{}, 3)
	go each(3, func(rank int) error {
		g, err := NewGroup(world[rank], 0, every(3))
		if err != nil {
			errs <- err
			return err
		}
		x := ramp(1<<20, float32(rank+1))
		if err := g.AllReduce(context.Background(), "check", x); err != nil {
			errs <- err
			return err
		}
		if err := sameFloats(x, ramp(1<<20, 6)); err != nil {
			errs <- err
			return err
		}
		ready <- struct{}{}
		for err == nil { // until the server is gone
			err = g.AllReduce(context.Background(), "grads", x)
		}
		errs <- err
		return err
	})
	for range 3 {
		select {
		case <-ready:
		case err := <-errs:
			t.Fatal(err)
		}
	}
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	late := time.After(detectionBound)
	for range 3 {
		select {
		case err := <-errs:
			if !strings.Contains(err.Error(), "grads") || strings.Contains(err.Error(), "hunter2") {
				t.Error(err)
			}
		case <-late:
			t.Fatal("a rank still waits")
		}
	}
	for rank, s := range sessions {
		<-s.Done()
		wantAs[*ConnError](t, s.Err())
		world[rank].Close()
		s.Close()
	}
	goleak.VerifyNone(t, before)
}
