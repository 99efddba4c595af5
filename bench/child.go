package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"time"
)

// A child reads a [workload] and then requests, and answers each with a reply;
// the first once its runner is ready. All are JSON objects.
type request struct {
	Steps int `json:"steps"` // to run now
}

type reply struct {
	Tokens  int       `json:"tokens"`            // a step
	FLOPs   float64   `json:"flops"`             // a step
	Seconds []float64 `json:"seconds,omitempty"` // of each step that was run
	Losses  []float64 `json:"losses,omitempty"`  // of each step that was run
	Alloc   uint64    `json:"alloc_bytes"`       // by all these steps
	Peak    int64     `json:"peak_bytes"`        // resident, so far; 0 where the system does not tell
	Error   string    `json:"error,omitempty"`   // with which the child ends
}

// Child is the process that [Train] starts for each side. It makes the runner
// named kind for the workload it reads from stdin, runs as many steps as each
// further request asks for, and ends with its input.
func Child(kind string, stdin io.Reader, stdout io.Writer) error {
	newRunner, ok := runners[kind]
	if !ok {
		return fmt.Errorf("bench: no runner is named %q", kind)
	}
	return serve(newRunner, stdin, stdout)
}

// serve answers requests until its input ends or something fails.
func serve(newRunner func(workload) (Runner, error), stdin io.Reader, stdout io.Writer) (err error) {
	in, out := json.NewDecoder(stdin), json.NewEncoder(stdout)
	answer := func(r reply, err error) error {
		if err != nil {
			r = reply{Error: err.Error()}
		}
		return errors.Join(err, out.Encode(r))
	}
	var w workload
	if err := in.Decode(&w); err != nil {
		return fmt.Errorf("bench: reading the workload: %w", err)
	}
	runner, err := newRunner(w)
	if err != nil {
		return answer(reply{}, err)
	}
	defer func() { err = errors.Join(err, runner.Close()) }()
	if err := answer(measure(runner, 0)); err != nil {
		return err
	}
	for {
		var q request
		switch err := in.Decode(&q); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("bench: reading a request: %w", err)
		}
		if err := answer(measure(runner, q.Steps)); err != nil {
			return err
		}
	}
}

// measure runs steps.
func measure(runner Runner, steps int) (reply, error) {
	r := reply{Tokens: runner.Tokens(), FLOPs: runner.FLOPs()}
	before := allocated()
	for range steps {
		start := time.Now()
		loss, err := runner.Step()
		elapsed := time.Since(start)
		if err != nil {
			return reply{}, err
		}
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			return reply{}, fmt.Errorf("bench: the loss is %g", loss)
		}
		r.Seconds = append(r.Seconds, elapsed.Seconds())
		r.Losses = append(r.Losses, loss)
	}
	r.Alloc, r.Peak = allocated()-before, peakMemory()
	return r, nil
}

// allocated returns the bytes that were ever allocated on the heap.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
