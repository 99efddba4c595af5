package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/galvani-ml/galvani/exec"
)

// spoken is an exec.Comm that receives the number of each call.
type spoken struct{ calls []string }

func (s *spoken) take(call string, dst []float32) error {
	s.calls = append(s.calls, call)
	for i := range dst {
		dst[i] = float32(len(s.calls))
	}
	return nil
}

func (s *spoken) AllReduce(_ context.Context, group, name string, x []float32) error {
	return s.take(fmt.Sprint("reduce ", group, name, x), x)
}

func (s *spoken) AllGather(_ context.Context, group, name string, dst, src []float32) error {
	return s.take(fmt.Sprint("gather ", group, name, src), dst)
}

func (s *spoken) ReduceScatter(_ context.Context, group, name string, dst, src []float32) error {
	return s.take(fmt.Sprint("scatter ", group, name, src), dst)
}

func (s *spoken) AllToAll(_ context.Context, group, name string, dst, src []float32) error {
	return s.take(fmt.Sprint("all ", group, name, src), dst)
}

func (s *spoken) Rotate(_ context.Context, group, name string, dst, src []float32, shift int) error {
	return s.take(fmt.Sprint("rotate ", group, name, src, shift), dst)
}

func (s *spoken) Send(_ context.Context, stage, edge int, mb exec.MicroBatch, name string, x []float32) error {
	return s.take(fmt.Sprint("send ", stage, edge, mb, name, x), nil)
}

func (s *spoken) Recv(_ context.Context, stage, edge int, mb exec.MicroBatch, name string, x []float32) error {
	return s.take(fmt.Sprint("receive ", stage, edge, mb, name), x)
}

// exchangeAll calls every method of c, and returns what it received.
func exchangeAll(t *testing.T, c exec.Comm) []float32 {
	t.Helper()
	ctx, mb := t.Context(), exec.MicroBatch{Slot: 1, Step: 2, Index: 3}
	one, two, three, four, five := []float32{1, 11}, []float32{2}, []float32{3, 33}, []float32{4, 44}, []float32{5, 55}
	src, pair := []float32{5, 6}, make([]float32, 2)
	if err := errors.Join(
		c.AllReduce(ctx, "dp", "x", one), c.AllGather(ctx, "dp", "x", four, src[:1]), c.ReduceScatter(ctx, "tp", "x", two, src),
		c.AllToAll(ctx, "tp", "x", three, src), c.Rotate(ctx, "cp", "x", five, src, -1), c.Send(ctx, 1, 5, mb, "x", src), c.Recv(ctx, 1, 6, mb, "x", pair), c.AllReduce(ctx, "dp", "x", src),
	); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(one, two, three, four, five, pair, src)
}

// TestEveryExchangeIsRecorded exchanges by every method of an exec.Comm:
// through the recorder as without it, and from the record the same again.
func TestEveryExchangeIsRecorded(t *testing.T) {
	direct, behind := &spoken{}, &spoken{}
	want := exchangeAll(t, direct)
	r := newRecorder(&Spec{Config: Config{RecordStep: 1}}, 0, behind)
	exchangeAll(t, r) // outside the step
	*behind = spoken{}
	path := filepath.Join(t.TempDir(), "record")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := recordWriter{file}
	r.file = &w
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	got := exchangeAll(t, r)
	if !slices.Equal(got, want) || !slices.Equal(behind.calls, direct.calls) {
		t.Errorf("received %v by %q, want %v by %q", got, behind.calls, want, direct.calls)
	}
	if err := w.json(sectionOutcome, recordOutcome{Sent: r.sent}); err != nil {
		t.Fatal(err)
	}
	f, err := openRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	p := &playback{file: f, sent: map[string]sentMessage{}}
	if got := exchangeAll(t, tapped{tap: p.exchange}); !slices.Equal(got, want) {
		t.Errorf("received %v from the record, want %v", got, want)
	}
	if c := p.compareSent(r.sent); c.Tensors != 7 || c.Different != 0 {
		t.Errorf("sent %+v, recorded %v", c, r.sent)
	}
	if err := (tapped{tap: p.exchange}).AllReduce(t.Context(), "pp", "x", got); err == nil {
		t.Error("an exchange that was not recorded is answered")
	}
}

// TestExchangesAreRecordedBesideEachOther exchanges on many goroutines.
func TestExchangesAreRecordedBesideEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := recordWriter{file}
	r := &recorder{file: &w}
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	const exchanges, size = 40, 3 * chunkElements / 2
	var all sync.WaitGroup
	for i := range exchanges {
		all.Go(func() {
			x := make([]float32, size)
			err := r.exchange(fmt.Sprint("number ", i), x, x, func() error { x[size-1] = float32(i); return nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := w.json(sectionOutcome, recordOutcome{}); err != nil {
		t.Fatal(err)
	}
	f, err := openRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for i := range exchanges {
		x := make([]float32, size)
		if err := readTensor(f, receivedLabel(fmt.Sprint("number ", i)), x); err != nil || x[size-1] != float32(i) || x[0] != 0 {
			t.Errorf("exchange %d: %v, last %v", i, err, x[size-1])
		}
	}
	if len(r.sent) != exchanges {
		t.Errorf("%d exchanges sent, want %d", len(r.sent), exchanges)
	}
}
