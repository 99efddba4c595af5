package profile

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/galvani-ml/galvani/parallel/cluster"
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

// quick measures sizes that take no time.
var quick = spec{
	Threads: 1, Sizes: sizesTo(4 << 10), Window: time.Microsecond,
	Shapes: []shape{{8, 8, 8}, {16, 8, 24}}, Stream: 1 << 10,
}

// measureQuickly keeps the result in dir.
func measureQuickly(t *testing.T, dir string, workers int, fresh bool) *Result {
	t.Helper()
	o := Options{Workers: workers, Cache: dir, Fresh: fresh, Version: "test"}.withDefaults()
	r, err := hardware(t.Context(), o, quick)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestHardware measures with worker processes.
func TestHardware(t *testing.T) {
	for _, workers := range []int{1, 4} {
		c := measureQuickly(t, t.TempDir(), workers, false).Cluster
		if c.Devices() != workers || c.Device.Memory < 1<<20 || c.Device.Bandwidth <= 0 || c.Device.Launch <= 0 || c.Overlap < 1 || c.Overlap > 2 {
			t.Errorf("%d workers: %+v", workers, c)
		}
		if want := 2*2*(3+1) + 2; len(c.Device.Rates) != want {
			t.Errorf("%d workers: %d rates, want %d", workers, len(c.Device.Rates), want)
		}
		for _, r := range c.Device.Rates {
			if r.PerSecond <= 0 || r.FLOPs <= 0 {
				t.Errorf("%d workers: %+v", workers, r)
			}
		}
		var got, want []string
		for _, l := range c.Links {
			for _, m := range l.Measured {
				got = append(got, fmt.Sprint(m.Kind, m.Group, len(m.Points)))
				for _, p := range m.Points {
					if p.Seconds <= 0 || p.Seconds > 10 || p.Spread < 0 {
						t.Errorf("%s of %+v: %+v", m.Kind, m.Group, p)
					}
				}
			}
		}
		for _, l := range layouts(workers) {
			for _, kind := range kinds {
				if kind != kindSend || l.Ranks == 2 {
					want = append(want, fmt.Sprint(kind, cluster.Group(l), 2))
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d workers: exchanges (-want +got):\n%s", workers, diff)
		}
	}
}

func TestCache(t *testing.T) {
	dir := t.TempDir()
	first := measureQuickly(t, dir, 2, false)
	if first.Cached {
		t.Error("the first result was in the cache")
	}
	again := measureQuickly(t, dir, 2, false)
	if diff := cmp.Diff(first.Cluster, again.Cluster); diff != "" || !again.Cached || again.Path != first.Path {
		t.Errorf("cached: %v, in %s (-measured +cached):\n%s", again.Cached, again.Path, diff)
	}
	if other, err := keyOf(Options{Workers: 3}, quick).path(dir); err != nil || other == first.Path {
		t.Errorf("2 and 3 workers share %s (%v)", other, err)
	}
	if fresh := measureQuickly(t, dir, 2, true); fresh.Cached {
		t.Error("Fresh took a cached result")
	}
	whole, err := os.ReadFile(first.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []string{"", "{}", string(whole[:len(whole)/2]), strings.Replace(string(whole), `"per_host": 2`, `"per_host": 1`, 1)} {
		if err := os.WriteFile(first.Path, []byte(damaged), 0o666); err != nil {
			t.Fatal(err)
		}
		if r := measureQuickly(t, dir, 2, false); r.Cached {
			t.Errorf("took what is damaged: %.40q", damaged)
		}
		if r := measureQuickly(t, dir, 2, false); !r.Cached {
			t.Errorf("what was measured has not replaced %.40q", damaged)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Workers: -1}, "profile: --workers -1: "},
		{Options{Largest: 100}, "profile: --largest 100 B: "},
		{Options{Window: -1}, "profile: --window -1ns: "},
		{Options{Cache: "profile_test.go", Workers: 2}, "profile: cache: "},
		{Options{Cache: t.TempDir(), NATS: "nats://127.0.0.1:1"}, "nats://127.0.0.1:1: cannot connect"},
	} {
		if _, err := Hardware(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}

// TestInterrupt ends a measurement that would take long.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := quick
	s.Window = time.Hour
	o := Options{Workers: 2, Cache: t.TempDir(), Say: func(string, string) { time.AfterFunc(50*time.Millisecond, cancel) }}
	start := time.Now()
	if _, err := hardware(ctx, o, s); err == nil || ctx.Err() == nil {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v to end", took)
	}
}
