package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
)

// quick are sizes that take no time.
var quick = cpuSizes{
	rows: []int{24}, width: 32, hidden: 64, vocab: 101, head: true,
	batch: 1, heads: 2, tokens: 40, dim: 16,
	elements: 32 << 10, lossRows: 100, memory: 32 << 10, rounds: 1 << 10,
	repetitions: 3,
}

// drifting is the clock of a machine that does 100 million a second and thread where
// nothing but a limit holds it, and 80 million in other kernels. Of three
// repetitions, the first takes three times as long; of two measurements of a
// limit, the one whose parity is slow takes twice as long.
func drifting(slow int) clock {
	calls := map[string]int{}
	return func(j job, p *kernel.Pool) time.Duration {
		j.run(p)
		name := fmt.Sprint(j.name, p.Threads())
		call := calls[name]
		calls[name]++
		seconds := j.work / 1e8 / float64(p.Threads())
		switch limit := strings.HasPrefix(j.name, "fma") || strings.HasPrefix(j.name, "memory"); {
		case !limit:
			seconds /= 0.8
		case call/3%2 == slow:
			seconds *= 2
		}
		if call%3 == 0 {
			seconds *= 3
		}
		return time.Duration(seconds * 1e9)
	}
}

// TestCPU runs all kernels by a clock that says how fast they are.
func TestCPU(t *testing.T) {
	for _, isa := range kernel.ISAs() {
		for slow := range 2 {
			t.Run(fmt.Sprintf("%s-%d", isa, slow), func(t *testing.T) {
				defer goleak.VerifyNone(t)
				defer kernel.SetISA(kernel.ActiveISA())
				if err := kernel.SetISA(isa); err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				if err := measureCPU(t.Context(), CPUOptions{Threads: 2, JSON: true}, &out, quick, drifting(slow)); err != nil {
					t.Fatal(err)
				}
				checkFigures(t, isa, &out)
			})
		}
	}
}

// checkFigures wants every kernel with each number of threads, once.
func checkFigures(t *testing.T, isa kernel.ISA, out *bytes.Buffer) {
	seen := map[string]bool{}
	for lines := json.NewDecoder(out); lines.More(); {
		var r Result
		if err := lines.Decode(&r); err != nil {
			t.Fatal(err)
		}
		unit := "GB/s"
		for _, bound := range []string{"fma", "gemm", "attention"} {
			if strings.HasPrefix(r.Name, bound) {
				unit = "GFLOP/s"
			}
		}
		limit := strings.HasPrefix(r.Name, "fma") || strings.HasPrefix(r.Name, "memory")
		if r.Suite != "cpu" || r.Unit != unit || r.Value <= 0 || r.OfPeak <= 0 || r.OfPeak >= 1.2 || !limit && math.Abs(r.OfPeak-0.8) > 1e-3 {
			t.Errorf("result %+v", r)
		}
		if seen[r.Name] {
			t.Errorf("two results are named %s", r.Name)
		}
		seen[r.Name] = true
	}
	for _, name := range []string{"fma-bf16-1t", "gemm-bf16-NT-24x32x96-2t"} {
		if seen[name] != kernel.HasBF16() {
			t.Errorf("result %s: %v; instructions for bf16: %v", name, seen[name], kernel.HasBF16())
		}
	}
	for _, name := range []string{
		"fma-fp32-" + string(isa), "memory-read", "memory-triad", "memory-update",
		"gemm-fp32-NN-24x96x32", "gemm-fp32-NT-24x32x96", "gemm-fp32-TN-32x96x24", "gemm-fp32-NN-24x101x32",
		"attention-fp32-B1-H2-T40-D16", "attention-grad-fp32-B1-H2-T40-D16",
		"gelu-fp32-512x64", "gelu-grad-fp32-512x64", "layer-norm-fp32-1024x32", "layer-norm-grad-fp32-1024x32",
		"cross-entropy-fp32-100x101", "cross-entropy-grad-fp32-100x101", "adamw-fp32-32768",
	} {
		for _, threads := range []string{"-1t", "-2t"} {
			if !seen[name+threads] {
				t.Errorf("no result is named %s", name+threads)
			}
		}
	}
}

// TestCPUTable measures for real. It runs on one thread, which is measured once, and prints lines of
// one width.
func TestCPUTable(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out bytes.Buffer
	if err := measureCPU(t.Context(), CPUOptions{Threads: 1}, &out, quick, stopwatch); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if !strings.HasSuffix(lines[0], "of peak") || strings.Count(out.String(), "fma-fp32-"+string(kernel.ActiveISA())+"-1t") != 1 {
		t.Errorf("table:\n%s", out.String())
	}
	for _, l := range lines {
		if len(l) != len(lines[0]) {
			t.Errorf("%q is not as wide as %q", l, lines[0])
		}
	}
}

func TestCPUFails(t *testing.T) {
	defer goleak.VerifyNone(t)
	if err := CPU(t.Context(), CPUOptions{Threads: -1}, &bytes.Buffer{}); err == nil {
		t.Error("-1 threads were accepted")
	}
	// An output that ends the context after some lines.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	written := 0
	out := writer(func(p []byte) (int, error) {
		if written++; written == 20 {
			cancel()
		}
		return len(p), nil
	})
	if err := measureCPU(ctx, CPUOptions{Threads: 1}, out, quick, stopwatch); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	full := errors.New("disk full")
	out = func([]byte) (int, error) { return 0, full }
	if err := measureCPU(t.Context(), CPUOptions{Threads: 1, JSON: true}, out, quick, stopwatch); !errors.Is(err, full) {
		t.Errorf("error %v, want the writer's", err)
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
