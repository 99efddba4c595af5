package train

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/launch"
	"github.com/galvani-ml/galvani/train/program"
)

var (
	allMemory  = flag.Bool("memory", false, "measure the memory of all plans rather than of a few")
	memoryPlan = flag.String("memory-plan", "", "measure the memory of this plan only")
)

// memoryModel is a GPT of width 512; one of 8 layers is measured.
func memoryModel(layers int) models.Config {
	return &models.GPTConfig{
		VocabSize: 2048, NPositions: memorySeq, NEmbd: 512, NLayer: layers, NHead: 8,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: true,
	}
}

const (
	memorySeq   = 128
	memoryBatch = 8
	memorySteps = 3
)

// memoryPlans are plans of 1 to 4 workers, of every strategy and mixed ones.
var memoryPlans = strings.Split(strings.TrimSpace(`
dp=1
micro=4
ckpt=all
ckpt=all micro=2
dp=2
dp=2 zero=1
dp=2 zero=2
dp=2 zero=3
dp=2 ckpt=all
dp=2 zero=3 ckpt=all
dp=2 micro=2
dp=2 zero=2 micro=4
dp=2 zero=3 micro=2
tp=2
tp=2 sequence_parallel=on
tp=2 sequence_parallel=on ckpt=all
tp=2 micro=4
sp=2
sp=2 ckpt=all
cp=2
cp=2 zero=3
pp=2 micro=2
pp=2 micro=4
pp=2 micro=4 schedule=gpipe
pp=2 micro=4 ckpt=all
pp=2 micro=8 stages=3,5
pp=2 micro=4 schedule=gpipe ckpt=all
dp=3 micro=1
pp=3 micro=4
tp=4
tp=4 sequence_parallel=on
tp=4 ckpt=all
dp=4
dp=4 zero=1
dp=4 zero=2
dp=4 zero=3
dp=4 zero=3 ckpt=all
sp=4
cp=4
dp=2 tp=2
dp=2 tp=2 zero=3
dp=2 tp=2 zero=2 sequence_parallel=on ckpt=all micro=2
dp=2 sp=2 zero=3
dp=2 cp=2 zero=1
tp=2 cp=2
tp=2 sp=2 sequence_parallel=on
pp=2 dp=2 micro=4
pp=2 dp=2 zero=3 micro=4
pp=2 dp=2 zero=2 ckpt=all micro=2
pp=2 tp=2 micro=4
pp=2 tp=2 sequence_parallel=on micro=4 schedule=gpipe
pp=4 micro=8
pp=4 micro=4 ckpt=all
pp=4 micro=8 schedule=gpipe stages=1,2,2,3
layers=0:dp=2;1-4:dp=2,zero=3;5-8:tp=2;9:tp=2
layers=0:dp=4;1-4:dp=2,tp=2,ckpt=all;5-8:dp=4,zero=3;9:tp=4
layers=0:dp=2;1-8:sp=2,ckpt=all;9:dp=2
layers=0-2:dp=2;3-6:dp=2,ckpt=all;7-9:dp=2
pp=2 micro=4 layers=0-4:dp=2,zero=1;5-9:tp=2
`), "\n")

// TestMeasuredMemory shows that worker processes take 0.9 to 1.0 of the memory
// that is planned. `make memory` measures all plans and prints the table.
func TestMeasuredMemory(t *testing.T) {
	plans := memoryPlans
	switch {
	case *memoryPlan != "":
		plans = strings.Split(*memoryPlan, "|")
	case !*allMemory:
		plans = []string{"dp=2 zero=3 ckpt=all micro=2"}
	}
	tokens := memoryTokens(t)
	if *allMemory || *memoryPlan != "" {
		fmt.Printf("%-62s %7s  %7s  %8s  %s\n", "plan", "workers", "planned", "measured", "measured/planned")
	}
	for _, text := range plans {
		plan, err := parallel.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := memorySpec(plan, tokens)
		if err != nil {
			t.Fatal(err)
		}
		workers, err := measureMemory(t.Context(), spec)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		least, most := workers[0], workers[0]
		for i, w := range workers {
			if w.ratio() < least.ratio() {
				least = w
			}
			if w.ratio() > most.ratio() {
				most = w
			}
			if r := w.ratio(); r < 0.9 || r > 1 {
				t.Errorf("%s: worker %d took %d bytes, %.3f of the %d planned", text, i, w.peak, r, w.planned)
			}
		}
		if *allMemory || *memoryPlan != "" {
			fmt.Printf("%-62s %7d  %7.1f  %8.1f  %.3f to %.3f\n", text, len(workers), float64(least.planned)/(1<<20), float64(least.peak)/(1<<20), least.ratio(), most.ratio())
		}
	}
}

func memoryTokens(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "tokens.bin")
	var text []byte
	random := rand.New(rand.NewPCG(1, 2))
	for range 40000 {
		text = binary.LittleEndian.AppendUint16(text, uint16(random.IntN(2048)))
	}
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func memorySpec(plan *parallel.Plan, tokens string) (*Spec, error) {
	return memorySpecOf(8, plan, tokens)
}

func memorySpecOf(layers int, plan *parallel.Plan, tokens string) (*Spec, error) {
	spec, err := tinySpec(memoryModel(layers), tokens, plan)
	if err != nil {
		return nil, err
	}
	batch := memoryBatch
	if plan.DP == 3 {
		batch = 9
	}
	spec.Config.Steps, spec.Config.Dropout, spec.Config.Precision = memorySteps, 0, "fp32"
	spec.Config.Batch, spec.Config.Seq, spec.Data.Batch, spec.Data.Seq = batch, memorySeq, batch, memorySeq
	return spec, nil
}

func testBackend(t *testing.T) *cpu.Backend {
	b, err := cpu.New(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// workerMemory is what one worker was planned to take and took.
type workerMemory struct{ planned, peak int64 }

func (w workerMemory) ratio() float64 { return float64(w.peak) / float64(w.planned) }

// measureMemory takes a few steps with worker processes.
func measureMemory(ctx context.Context, spec *Spec) (workers []workerMemory, err error) {
	backend, err := cpu.New(spec.Threads)
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	for rank := range spec.Plan.Mesh().Size() {
		part, compiled, err := compileRank(spec, rank, backend)
		if err != nil {
			return nil, err
		}
		workers = append(workers, workerMemory{planned: program.PlannedOf(compiled, part).Total()})
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the workers take longer than a minute"))
	defer cancel()
	j := &job{spec: spec}
	run, err := launch.Start(ctx, j.launch(), spec)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	return workers, run.Follow(ctx, func(e comm.Event) (last bool, err error) {
		if e.Kind != eventStep {
			return false, nil
		}
		var r stepReport
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return false, err
		}
		workers[e.Rank].peak = max(workers[e.Rank].peak, r.PeakBytes)
		return r.Step == spec.Config.Steps, nil
	}, func() error { return context.Cause(ctx) })
}
