package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/cpu/probe"
)

// CPUOptions say what the suite cpu measures.
type CPUOptions struct {
	Threads int  // at most; default as many as this process uses
	Large   bool // also GEMM with 4,096 rows, and of the head
	// OpenBLAS measures matrix products on OpenBLAS too: on Library, or on the
	// system's if it is empty.
	OpenBLAS bool
	Library  string
	SVG      string // file to write a chart to; empty for none
	JSON     bool   // one JSON object a line instead of a table
}

// CPU measures the kernels at the sizes of GPT-2 124M beside what the machine
// can do at most, on one thread and on all, and writes a [Result] of each to
// stdout. It takes some 15 seconds and 1 GB of memory; Large some 3 minutes and
// 3 GB. When ctx ends it stops between two repetitions.
//
// A kernel's value is that of its median repetition, a limit's that of its
// fastest. of_peak is the kernel's value over its limit with as many threads:
//
//   - of matrix products and attention, multiply-adds in registers with the
//     instruction set in use (fma-fp32), or, of products of bf16, with its
//     instructions for bf16 (fma-bf16), which are left out where there are none;
//   - of vector kernels, the bandwidth of memory to a loop of their kind: one
//     that only reads (memory-read), that writes elsewhere (memory-triad), or
//     that writes in place (memory-update).
//
// Clocks drift, so the limits of a group of kernels are measured anew after it,
// and the larger of the last two values counts: one from before the group, one
// from after it. A share above 1 means that the machine was slower at both
// times.
//
// With OpenBLAS, matrix products are measured in turns with its own: Peers has the
// ratio, and at the end a result for each number of rows and threads sums the
// ratios up by their geometric mean and the worst.
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

func measureCPU(ctx context.Context, o CPUOptions, stdout io.Writer, sizes cpuSizes, clock clock) (err error) {
	if o.Threads < 0 {
		return fmt.Errorf("bench: %d threads: they cannot be negative", o.Threads)
	}
	if err := checkChart(o.SVG); err != nil {
		return err
	}
	write := results(stdout, o.JSON, o.OpenBLAS)
	var results []Result
	s := &cpuSuite{ctx: ctx, sizes: sizes, clock: clock, emit: func(r Result) error {
		results = append(results, r)
		return write(r)
	}}
	if o.OpenBLAS {
		if s.blas, err = startBLAS(ctx, o.Library); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.blas.close()) }()
	}
	for _, threads := range []int{1, cmp.Or(o.Threads, runtime.GOMAXPROCS(0))} {
		if len(s.pools) == 0 || threads > 1 {
			p := kernel.NewPool(threads)
			defer p.Close()
			s.pools = append(s.pools, p)
		}
	}
	if err := s.run(); err != nil {
		return err
	}
	return writeChart(o.SVG, cpuChart(results, machineName(s.pools[len(s.pools)-1].Threads())))
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
	blas   *blas // nil if not asked for
	duels  []duels
}

// job is a loop to be measured.
type job struct {
	bound bound
	name  string
	work  float64 // floating-point operations or bytes
	run   func(p *kernel.Pool)

	// Of a matrix product:
	product *kernel.GemmArgs
	rows    int // tokens at once
}

// rate is in billions a second.
func (j *job) rate(seconds float64) float64 { return j.work / seconds / 1e9 }

// run measures the limits and then group by group.
func (s *cpuSuite) run() error {
	var held probe.Arena
	defer held.Free()
	if err := s.measureLimits(&held); err != nil {
		return err
	}
	for _, g := range s.sizes.groups() {
		if err := s.group(g); err != nil {
			return err
		}
	}
	for _, d := range s.duels {
		if err := s.emit(d.summary(s.blas.name)); err != nil {
			return err
		}
	}
	return nil
}

// group measures kernels that share operands, and then their limits anew.
// prepare takes the operands from the arena it is given.
func (s *cpuSuite) group(prepare func(a *probe.Arena) []job) error {
	var operands probe.Arena
	defer operands.Free()
	jobs := prepare(&operands)
	values, ratios := make([][]float64, len(jobs)), make([][]float64, len(jobs)) // by pool
	for i, j := range jobs {
		for _, p := range s.pools {
			times, ratio, err := s.measure(j, p)
			if err != nil {
				return err
			}
			values[i], ratios[i] = append(values[i], j.rate(median(times))), append(ratios[i], ratio)
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
		if err := s.report(j, values[i], peaks, ratios[i]); err != nil {
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

// measure gives the seconds of repetitions, and for a product that OpenBLAS
// computes too the ratio, else 0.
func (s *cpuSuite) measure(j job, p *kernel.Pool) (times []float64, ratio float64, err error) {
	if s.blas != nil && j.product != nil {
		return s.duel(j, p)
	}
	times, err = s.times(j, p)
	return times, 0, err
}

// report writes the values of a job beside its limits and, of products, its
// ratios to OpenBLAS; all by pool.
func (s *cpuSuite) report(j job, values, limits, ratios []float64) error {
	for n, p := range s.pools {
		r := Result{
			Suite: "cpu", Name: fmt.Sprintf("%s-%dt", j.name, p.Threads()),
			Value: values[n], Unit: j.bound.unit(), OfPeak: values[n] / limits[n],
		}
		if len(ratios) > 0 && ratios[n] > 0 {
			r.Peers = map[string]float64{openBLAS: ratios[n]}
			s.record(j, p.Threads(), r.Name, ratios[n])
		}
		if err := s.emit(r); err != nil {
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
