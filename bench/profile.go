package bench

import (
	"cmp"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
)

// KernelTime is what all operations of one kind took in one pass of a step, on
// average.
type KernelTime struct {
	Kind   string  `json:"kind"`
	Pass   string  `json:"pass"`  // forward, backward, update; empty of what lies between
	Count  float64 `json:"count"` // a step
	Millis float64 `json:"ms"`    // a step
	Share  float64 `json:"share"` // of the step, 0 to 1
	// GFLOPs is billions of floating-point operations a second; 0 where memory,
	// not arithmetic, is the limit.
	GFLOPs float64 `json:"gflops,omitempty"`
	OfPeak float64 `json:"of_peak,omitempty"` // GFLOPs over the limit in the same run, 0 to 1
}

// What a profile calls what lies outside the passes.
const (
	updatePass = "update"
	between    = "between kernels"
)

// timedBackend measures the kernels of the update.
type timedBackend struct {
	*cpu.Backend
	on          bool
	adamW, norm exec.KindTime
}

// reset starts to measure anew, or stops.
func (b *timedBackend) reset(on bool) {
	b.on, b.adamW, b.norm = on, exec.KindTime{Kind: "AdamW"}, exec.KindTime{Kind: "gradient norm"}
}

func (b *timedBackend) times() []exec.KindTime { return []exec.KindTime{b.adamW, b.norm} }

// SumSquares is the back end's.
func (b *timedBackend) SumSquares(x []float32) float64 {
	defer b.add(&b.norm, b.now())
	return b.Backend.SumSquares(x)
}

// AdamW is the back end's.
func (b *timedBackend) AdamW(p exec.Param, a exec.AdamW, gradScale float64, decay bool) {
	defer b.add(&b.adamW, b.now())
	b.Backend.AdamW(p, a, gradScale, decay)
}

// now spares the clock while nothing is measured.
func (b *timedBackend) now() time.Time {
	if !b.on {
		return time.Time{}
	}
	return time.Now()
}

func (b *timedBackend) add(t *exec.KindTime, start time.Time) {
	if b.on {
		t.Count++
		t.Time += time.Since(start)
	}
}

// kernelTimes are the averages over steps that took total, of kernels in the
// passes and in the update: the longest first, and what is left of total last.
func kernelTimes(passes, update []exec.KindTime, total time.Duration, steps int) []KernelTime {
	var ks []KernelTime
	rest, n := total, float64(steps)
	add := func(pass string, t exec.KindTime) {
		if t.Count == 0 {
			return
		}
		rest -= t.Time
		ks = append(ks, KernelTime{
			Kind: t.Kind, Pass: pass, Count: float64(t.Count) / n,
			Millis: 1e3 * t.Time.Seconds() / n, Share: float64(t.Time) / float64(total),
			GFLOPs: float64(t.FLOPs) / max(t.Time, 1).Seconds() / 1e9,
		})
	}
	for _, t := range passes {
		add(passName(t.Pass), t)
	}
	for _, t := range update {
		add(updatePass, t)
	}
	slices.SortStableFunc(ks, func(a, b KernelTime) int { return cmp.Compare(b.Millis, a.Millis) })
	return append(ks, KernelTime{Kind: between, Count: 1, Millis: 1e3 * rest.Seconds() / n, Share: float64(rest) / float64(total)})
}

func passName(p graph.Pass) string {
	if p == graph.Forward {
		return "forward"
	}
	return "backward"
}
