package simulate

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestTrace parses traces: threads are named and no two events of one overlap,
// all computation and all exchanges are there, and the counters reach the peaks.
func TestTrace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, true)
		for i := range j.Stages {
			j.Stages[i].States = int64(i)
			j.Stages[i].Layers = []Layer{{Activation: 5, Peak: rapid.Int64Range(0, 9).Draw(t, "peak")}}
		}
		timeline := run(t, j)
		var b bytes.Buffer
		if err := timeline.WriteTrace(&b); err != nil {
			t.Fatal(err)
		}
		var trace struct {
			TraceEvents []struct {
				Name     string
				Phase    string `json:"ph"`
				PID, TID int
				TS, Dur  float64
				Args     struct {
					Name  string
					Bytes int64
				}
			}
		}
		if err := json.Unmarshal(b.Bytes(), &trace); err != nil {
			t.Fatalf("%v: %s", err, b.Bytes())
		}
		names, ends, sums := map[[2]int]string{}, map[[2]int]float64{}, map[[2]int]float64{}
		peaks := make([]int64, len(j.Stages))
		for _, e := range trace.TraceEvents {
			thread := [2]int{e.PID, e.TID}
			switch e.Phase {
			case "M":
				if e.Args.Name != "" {
					names[thread] = e.Args.Name
				}
			case "X":
				start := math.Round(e.TS * 1e3)
				if start < ends[thread] || e.Dur < 0 || names[thread] == "" {
					t.Fatalf("%+v of %q: the event before ends at %v", e, names[thread], ends[thread])
				}
				ends[thread] = math.Round((e.TS + e.Dur) * 1e3)
				sums[thread] += e.Dur / 1e6
			case "C":
				peaks[e.PID] = max(peaks[e.PID], e.Args.Bytes)
			default:
				t.Fatalf("%+v", e)
			}
		}
		for i, s := range timeline.Stages {
			if compute, exchange := sums[[2]int{i, threadCompute}], sums[[2]int{i, threadExchange}]; math.Abs(compute-s.Compute-s.Update)+math.Abs(exchange-s.Exchanges) > 1e-6 {
				t.Fatalf("stage %d: %v and %v s in the trace, %v, %v and %v in the summary", i, compute, exchange, s.Compute, s.Update, s.Exchanges)
			}
			if peaks[i] != s.Memory {
				t.Fatalf("stage %d: peak %d in the trace, %d in the summary", i, peaks[i], s.Memory)
			}
		}
	})
}

// failing is a writer that fails.
type failing struct{}

var errFull = errors.New("full")

func (failing) Write([]byte) (int, error) { return 0, errFull }

// TestTraceFails has the writer fail.
func TestTraceFails(t *testing.T) {
	if err := run(t, &Job{Stages: []Stage{plain(1, 2)}, Micro: 1, Schedule: "gpipe"}).WriteTrace(failing{}); !errors.Is(err, errFull) {
		t.Error(err)
	}
}
