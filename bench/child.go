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

// A child reads a [setup] and then requests, and answers each with a reply; the
// first once its runner is ready. All are JSON objects.
type request struct {
	Steps   int  `json:"steps"`             // to run now
	Limit   bool `json:"limit,omitempty"`   // measure what the processor does at most, before and after
	Profile bool `json:"profile,omitempty"` // tell where the time of the steps goes, instead of their losses
}

type reply struct {
	Seconds []float64    `json:"seconds,omitempty"`       // of each step that was run
	Losses  []float64    `json:"losses,omitempty"`        // of each step that was run
	Alloc   uint64       `json:"alloc_bytes,omitempty"`   // by all these steps
	Peak    int64        `json:"peak_bytes"`              // resident, so far; 0 where the system does not tell
	Planned int64        `json:"planned_bytes,omitempty"` // of memory; 0 where nothing plans
	Limit   float64      `json:"limit,omitempty"`         // billions of floating-point operations a second; 0 if not measured
	Profile []KernelTime `json:"profile,omitempty"`
	Version string       `json:"version,omitempty"` // of the peer, in the first reply
	failure
}

// failure ends a child.
type failure struct {
	Error string `json:"error,omitempty"`
}

func (f failure) fault() string { return f.Error }

// Child is the process that [Train] starts for each side, and [Predict] for each
// network. It makes the runner named kind for the workload it reads from stdin,
// runs as many steps as each further request asks for, and ends with its input.
func Child(kind string, stdin io.Reader, stdout io.Writer) error {
	if kind == predictChildKind {
		return predictChild(stdin, stdout)
	}
	if kind == commRank {
		return serveRank(stdin, stdout)
	}
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
			r = reply{failure: failure{err.Error()}}
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
	if err := answer(reply{Peak: peakMemory()}, nil); err != nil {
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
		if err := answer(comply(runner, q)); err != nil {
			return err
		}
	}
}

// comply does what a request asks for.
func comply(runner Runner, q request) (r reply, err error) {
	before, err := limit(runner, q)
	if err != nil {
		return reply{}, err
	}
	if q.Profile {
		r, err = profile(runner, q.Steps)
	} else {
		r, err = measure(runner, q.Steps)
	}
	if err != nil {
		return reply{}, err
	}
	after, err := limit(runner, q)
	r.Limit = max(before, after)
	return r, err
}

// limit measures what the processor does at most, if it is asked for and the
// runner can.
func limit(runner Runner, q request) (float64, error) {
	p, ok := runner.(peaker)
	if !q.Limit || !ok {
		return 0, nil
	}
	return p.Peak()
}

// measure runs steps.
func measure(runner Runner, steps int) (reply, error) {
	var r reply
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
	if p, ok := runner.(memoryPlanner); ok {
		r.Planned = p.Planned()
	}
	return r, nil
}

// profile runs steps and tells where their time went.
func profile(runner Runner, steps int) (reply, error) {
	p, ok := runner.(profiler)
	if !ok {
		return reply{}, errors.New("bench: this side cannot tell where its time goes")
	}
	times, err := p.Profile(steps)
	return reply{Profile: times}, err
}

// allocated returns the bytes that were ever allocated on the heap.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
