package train

import (
	"testing"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec"
)

// TestSplit tells communication from waiting for other stages.
func TestSplit(t *testing.T) {
	w := exec.Waited{Collectives: 5 * time.Second, Receives: 7 * time.Second, Sends: time.Second, Across: 2 * time.Second}
	if got, want := split(w, true, 8), (exchanged{4, 9, 8}); got != want {
		t.Errorf("with stages %+v, want %+v", got, want)
	}
	w.Receives = 0
	if got, want := split(w, false, 8), (exchanged{6, 0, 8}); got != want {
		t.Errorf("without %+v, want %+v", got, want)
	}
}

func TestMeanOf(t *testing.T) {
	got := meanOf([]stepReport{{exchanged: exchanged{1, 2, 30}}, {exchanged: exchanged{3, 0, 10}}})
	if want := (exchanged{2, 1, 20}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestMetered counts what a group sends: in an all-reduce of n elements over two
// ranks, all n.
func TestMetered(t *testing.T) {
	ranks := comm.Local(2)
	ctx := t.Context()
	a, b := &metered{Transport: ranks[0]}, &metered{Transport: ranks[1]}
	errs := make(chan error)
	sum := func(m *metered) {
		g, err := comm.NewGroup(m, 1, []int{0, 1})
		if err == nil {
			err = g.AllReduce(ctx, "sum", make([]float32, 100))
		}
		errs <- err
	}
	go sum(a)
	go sum(b)
	for range 2 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	tag := comm.Tag{Edge: 3, Name: "bytes"}
	if err := a.SendBytes(ctx, 1, tag, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	if got, err := b.RecvBytes(ctx, 0, tag); err != nil || len(got) != 7 {
		t.Errorf("received %d bytes, %v", len(got), err)
	}
	if a.sent.Load() != 407 || b.sent.Load() != 400 {
		t.Errorf("sent %d and %d bytes, want 407 and 400", a.sent.Load(), b.sent.Load())
	}
}
