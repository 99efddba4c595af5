package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
)

// CPUOptions say what the suite cpu measures.
type CPUOptions struct {
	Threads int  // at most; default as many as this process uses
	Large   bool // also GEMM with 4,096 rows, and of the head
	JSON    bool // one JSON object a line instead of a table
}

// CPU measures the kernels at the sizes of GPT-2 124M beside what the machine
// can do at most, on one thread and on all, and writes a [Result] of each to
// stdout. It takes some 15 seconds and 1 GB of memory; Large some 2 minutes and
// 3 GB. When ctx ends it stops between two repetitions.
//
// A kernel's value is that of its median repetition, a limit's that of its
// fastest. of_peak is the kernel's value over its limit with as many threads:
//
//   - of matrix products and attention, multiply-adds in registers with the
//     instruction set in use (fma-fp32);
//   - of vector kernels, the bandwidth of memory to a loop of their kind: one
//     that only reads (memory-read), that writes elsewhere (memory-triad), or
//     that writes in place (memory-update).
//
// Clocks drift, so the limits of a group of kernels are measured anew after it,
// and the larger of the last two values counts: one from before the group, one
// from after it. A share above 1 means that the machine was slower at both
// times.
//
// Names tell the sizes and end in the threads. Of a product C = A B they are
// those of C and then the depth: gemm-fp32-NT-1024x768x3072-2t has C [1024, 768]
// and transposes its second operand, as an input gradient does.
func CPU(ctx context.Context, o CPUOptions, stdout io.Writer) error {
	sizes := gpt2
	if o.Large {
		sizes.rows, sizes.head = append(sizes.rows[:len(sizes.rows):len(sizes.rows)], 4096), true
	}
	return measureCPU(ctx, o, stdout, sizes, stopwatch)
}

func measureCPU(ctx context.Context, o CPUOptions, stdout io.Writer, sizes cpuSizes, clock clock) error {
	if o.Threads < 0 {
		return fmt.Errorf("bench: %d threads: they cannot be negative", o.Threads)
	}
	s := &cpuSuite{ctx: ctx, sizes: sizes, clock: clock, emit: figures(stdout)}
	if o.JSON {
		lines := json.NewEncoder(stdout)
		s.emit = func(r Result) error { return lines.Encode(r) }
	}
	for _, threads := range []int{1, cmp.Or(o.Threads, runtime.GOMAXPROCS(0))} {
		if len(s.pools) == 0 || threads > 1 {
			p := kernel.NewPool(threads)
			defer p.Close()
			s.pools = append(s.pools, p)
		}
	}
	return s.run()
}

// cpuSuite is one run of the suite.
type cpuSuite struct {
	ctx    context.Context
	sizes  cpuSizes
	clock  clock
	pools  []*kernel.Pool // of one thread, and of all
	limits [bounds]job
	peaks  [bounds][]float64 // the limits when last measured, by pool
	emit   func(Result) error
}

// job is a loop to be measured.
type job struct {
	bound bound
	name  string
	work  float64 // floating-point operations or bytes
	run   func(p *kernel.Pool)
}

// rate is in billions a second.
func (j *job) rate(seconds float64) float64 { return j.work / seconds / 1e9 }

// run measures the limits and then group by group.
func (s *cpuSuite) run() error {
	var held arena
	defer held.free()
	if err := s.measureLimits(&held); err != nil {
		return err
	}
	for _, g := range s.sizes.groups() {
		if err := s.group(g); err != nil {
			return err
		}
	}
	return nil
}

// group measures kernels that share operands, and then their limits anew.
// prepare takes the operands from the arena it is given.
func (s *cpuSuite) group(prepare func(a *arena) []job) error {
	var operands arena
	defer operands.free()
	jobs := prepare(&operands)
	values := make([][]float64, len(jobs)) // by pool
	for i, j := range jobs {
		for _, p := range s.pools {
			times, err := s.times(j, p)
			if err != nil {
				return err
			}
			values[i] = append(values[i], j.rate(median(times)))
		}
	}
	before := s.peaks
	if err := s.renew(jobs); err != nil {
		return err
	}
	for i, j := range jobs {
		peaks := slices.Clone(before[j.bound])
		for n, p := range s.peaks[j.bound] {
			peaks[n] = max(peaks[n], p)
		}
		if err := s.report(j, values[i], peaks); err != nil {
			return err
		}
	}
	return nil
}

// renew measures the limits of jobs.
func (s *cpuSuite) renew(jobs []job) (err error) {
	var done [bounds]bool
	for _, j := range jobs {
		if done[j.bound] {
			continue
		}
		done[j.bound] = true
		if s.peaks[j.bound], err = s.peak(s.limits[j.bound]); err != nil {
			return err
		}
	}
	return nil
}

// report writes the values of a job beside its limits, both by pool.
func (s *cpuSuite) report(j job, values, limits []float64) error {
	for n, p := range s.pools {
		if err := s.emit(Result{
			Suite: "cpu", Name: fmt.Sprintf("%s-%dt", j.name, p.Threads()),
			Value: values[n], Unit: j.bound.unit(), OfPeak: values[n] / limits[n],
		}); err != nil {
			return err
		}
	}
	return nil
}

// times are the seconds that repetitions of a job take, after one that brings its
// operands in.
func (s *cpuSuite) times(j job, p *kernel.Pool) ([]float64, error) {
	j.run(p)
	var times []float64
	for start := time.Now(); len(times) < s.sizes.repetitions || time.Since(start) < s.sizes.window; {
		if s.ctx.Err() != nil {
			return nil, context.Cause(s.ctx)
		}
		times = append(times, max(s.clock(j, p), 1).Seconds())
	}
	return times, nil
}

// clock runs a job and tells how long it took.
type clock func(j job, p *kernel.Pool) time.Duration

func stopwatch(j job, p *kernel.Pool) time.Duration {
	start := time.Now()
	j.run(p)
	return time.Since(start)
}
