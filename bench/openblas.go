package bench

import (
	"context"
	_ "embed" // for the script
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"runtime"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/cpu/probe"
)

//go:embed python/openblas.py
var blasScript string

// openBLAS is the peer of matrix products.
const openBLAS = "openblas"

// blas is OpenBLAS, in a process of its own.
type blas struct {
	process *process
	name    string // library and version
}

// blasLibrary, blasProduct are what the process is asked.
type (
	blasLibrary struct {
		Library string `json:"library"`
	}
	blasProduct struct {
		M           int    `json:"m"`
		N           int    `json:"n"`
		K           int    `json:"k"`
		TransA      bool   `json:"trans_a"`
		TransB      bool   `json:"trans_b"`
		LDA         int    `json:"lda"`
		LDB         int    `json:"ldb"`
		LDC         int    `json:"ldc"`
		A           []byte `json:"a"` // the elements that repeat
		B           []byte `json:"b"`
		Threads     int    `json:"threads"`
		Repetitions int    `json:"repetitions"`
	}
	blasReply struct {
		Version string    `json:"version"`
		Seconds []float64 `json:"seconds"`
		Sample  []float32 `json:"sample"` // first, middle and last element of C
		failure
	}
)

// startBLAS loads a library, the system's if path is empty.
func startBLAS(ctx context.Context, path string) (*blas, error) {
	python := ""
	for _, name := range pythons {
		if found, err := exec.LookPath(name); err == nil {
			python = found
			break
		}
	}
	if python == "" {
		return nil, errors.New("bench: measuring OpenBLAS takes a python3, and there is none")
	}
	p, err := start(ctx, openBLAS, peerEnvironment(runtime.NumCPU()), defaultTimeout, python, "-u", "-c", blasScript)
	if err != nil {
		return nil, err
	}
	var r blasReply
	if err := p.ask(blasLibrary{path}, &r); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return &blas{p, r.Version}, nil
}

func (b *blas) close() error { return b.process.close() }

// times are the seconds that repetitions of our product take there. C holds our
// result, which must be theirs.
func (b *blas) times(g kernel.GemmArgs, threads, repetitions int) ([]float64, error) {
	var r blasReply
	q := blasProduct{
		g.M, g.N, g.K, g.TransA, g.TransB, g.LDA, g.LDB, g.LDC, repeating(g.A), repeating(g.B), threads, repetitions,
	}
	if err := b.process.ask(q, &r); err != nil {
		return nil, err
	}
	size := g.M * g.LDC
	places := []int{0, size / 2, size - 1}
	if len(r.Seconds) != repetitions || len(r.Sample) != len(places) || slices.Min(r.Seconds) <= 0 {
		return nil, fmt.Errorf("bench: %s was asked for %d repetitions and reports %d", openBLAS, repetitions, len(r.Seconds))
	}
	for i, at := range places {
		// The terms are in [-1, 1].
		if x, y := float64(g.C[at]), float64(r.Sample[i]); !(math.Abs(x-y) <= tolerance*math.Sqrt(float64(g.K))) {
			return nil, fmt.Errorf("bench: element %d of a product of %d x %d x %d is %g here and %g on %s: they do not compute the same, so nothing can be compared", at, g.M, g.N, g.K, x, y, openBLAS)
		}
	}
	return r.Seconds, nil
}

// repeating are the bytes of the elements that an operand repeats.
func repeating(x []float32) []byte {
	var b []byte
	for _, v := range x[:min(len(x), probe.Period)] {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// alternations is how often each side has its turn at a product.
const alternations = 5

// duel measures a product here and there in turns. Each turn begins with a rest,
// in which the other side's idle threads stop to spin, and a repetition that is
// not counted. It gives our seconds and the median of the ratios theirs over ours.
func (s *cpuSuite) duel(j job, p *kernel.Pool) (times []float64, ratio float64, err error) {
	j.run(p)
	once := max(s.clock(j, p), 1)
	repetitions := max(int(s.sizes.window/once)/alternations, 3)
	var ratios []float64
	for range alternations {
		mine := make([]float64, repetitions)
		time.Sleep(s.sizes.rest)
		j.run(p)
		for i := range mine {
			if s.ctx.Err() != nil {
				return nil, 0, context.Cause(s.ctx)
			}
			mine[i] = max(s.clock(j, p), 1).Seconds()
		}
		time.Sleep(s.sizes.rest)
		theirs, err := s.blas.times(*j.product, p.Threads(), repetitions)
		if err != nil {
			return nil, 0, err
		}
		times = append(times, mine...)
		ratios = append(ratios, median(theirs)/median(mine))
	}
	return times, median(ratios), nil
}

// duels are the ratios of one number of rows and threads.
type duels struct {
	rows, threads int
	names         []string
	ratios        []float64
}

// record adds a ratio to those of its rows and threads.
func (s *cpuSuite) record(j job, threads int, name string, ratio float64) {
	i := slices.IndexFunc(s.duels, func(d duels) bool { return d.rows == j.rows && d.threads == threads })
	if i < 0 {
		i = len(s.duels)
		s.duels = append(s.duels, duels{rows: j.rows, threads: threads})
	}
	s.duels[i].names = append(s.duels[i].names, name)
	s.duels[i].ratios = append(s.duels[i].ratios, ratio)
}

// summary is the geometric mean, and the worst.
func (d duels) summary(library string) Result {
	logs := 0.0
	for _, r := range d.ratios {
		logs += math.Log(r)
	}
	mean, worst := math.Exp(logs/float64(len(d.ratios))), slices.Min(d.ratios)
	return Result{
		Suite: "cpu", Name: fmt.Sprintf("gemm-fp32-M%d-%dt", d.rows, d.threads),
		Value: mean, Unit: "of " + openBLAS, Peers: map[string]float64{openBLAS: mean},
		Products: &Products{
			Count: len(d.ratios), Worst: worst, WorstName: d.names[slices.Index(d.ratios, worst)], Library: library,
		},
	}
}
