package train

import (
	"errors"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/program"
)

// planText compiles the stages of a plan of the GPT of 8 layers.
func planText(t *testing.T, text string, batch int) (*Spec, []*stagePlan) {
	t.Helper()
	plan, err := parallel.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := memorySpec(plan, "")
	if err != nil {
		t.Fatal(err)
	}
	spec.Config.Batch = batch
	stages, err := planStages(spec)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return spec, stages
}

// TestZeRO3Memory shows that under ZeRO-3 each of N ranks holds exactly one
// N-th of parameters, gradients and both moments.
func TestZeRO3Memory(t *testing.T) {
	_, whole := planText(t, "dp=1", memoryBatch)
	for _, c := range []struct {
		text string
		n    int64
	}{{"dp=2 zero=3", 2}, {"dp=4 zero=3", 4}, {"dp=8 zero=3", 8}, {"dp=2 sp=2 zero=3", 4}, {"dp=2 cp=2 zero=3", 4}, {"dp=2 zero=3 ckpt=all micro=2", 2}} {
		_, stages := planText(t, c.text, memoryBatch)
		for _, class := range []exec.Class{exec.Parameters, exec.Gradients, exec.OptimizerState} {
			if got, want := stages[0].planned.Memory[class], whole[0].planned.Memory[class]; got*c.n != want {
				t.Errorf("%s: a rank is planned %d bytes of %v, one rank alone %d: not 1/%d", c.text, got, class, want, c.n)
			}
		}
	}
}

// TestCheckpointMemory shows that checkpointing all layers keeps of each only
// its input, [B, T, C], besides what is kept without any blocks, and that what
// one layer needs while it is computed again does not depend on their number.
func TestCheckpointMemory(t *testing.T) {
	activations := func(blocks int, text string) (kept, workspace int64) {
		plan, err := parallel.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := memorySpecOf(blocks, plan, "")
		if err != nil {
			t.Fatal(err)
		}
		stages, err := planStages(spec)
		if err != nil {
			t.Fatal(err)
		}
		return stages[0].planned.Memory[exec.Activations], stages[0].planned.Memory[exec.Workspace]
	}
	const boundary = memoryBatch * memorySeq * 512 * 4
	four, work4 := activations(4, "ckpt=all")
	eight, work8 := activations(8, "ckpt=all")
	if got := eight - four; got != 4*boundary {
		t.Errorf("four more layers keep %d bytes more, their inputs are %d", got, 4*boundary)
	}
	if work4 != work8 {
		t.Errorf("the workspace of 4 layers is %d bytes, of 8 layers %d", work4, work8)
	}
	// One layer, computed again, fits into what the memory plan of a model of one
	// layer without checkpointing has.
	one, workOne := activations(1, "ckpt=none")
	if most := one + workOne + 8*boundary; eight+work8 > most {
		t.Errorf("activations and workspace of 8 checkpointed layers are %d bytes, of one layer and 8 boundaries %d", eight+work8, most)
	}
}

// TestPlannedSum shows that the classes add up, that stages are planned by one
// of their ranks because all need the same, and that traffic matches at both
// ends of every group.
func TestPlannedSum(t *testing.T) {
	for _, text := range memoryPlans {
		plan, err := parallel.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := memorySpec(plan, "")
		if err != nil {
			t.Fatal(err)
		}
		stages, err := planStages(spec)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		backend := testBackend(t)
		sent, received := 0, 0
		for rank := range plan.Mesh().Size() {
			part, compiled, err := compileRank(spec, rank, backend)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := program.PlannedOf(compiled, part), stages[part.PipelineStage()].planned; got != want {
				t.Errorf("%s: rank %d needs %v, its stage is planned %v", text, rank, got, want)
			}
			for _, x := range (&stagePlan{part: part, program: compiled}).traffic() {
				switch x.Kind {
				case (graph.Send{}).Kind():
					sent += int(x.Sent)
				case (graph.Recv{}).Kind():
					received += int(x.Bytes)
				}
			}
		}
		if sent != received {
			t.Errorf("%s: stages send %d bytes and receive %d", text, sent, received)
		}
	}
}

// TestBudget shows that a plan that does not fit is refused with the stage, the
// layer, the missing bytes and a change, and that the change really fits.
func TestBudget(t *testing.T) {
	for _, c := range []struct {
		text string
		mib  int64
		what string // the change; empty where none fits
	}{
		{"dp=1", 600, "checkpoint layers 1-3"},
		{"dp=2", 500, "checkpoint layers"},
		{"dp=2", 430, "use ZeRO-3"},
		{"dp=2", 320, "checkpoint all blocks and use ZeRO-3"},
		{"pp=2 micro=2", 300, "checkpoint layers"},
		{"dp=4 ckpt=all", 400, "use ZeRO-1"},
		{"tp=2", 250, "use 8 micro-batches"},
		{"tp=2", 240, "checkpoint all blocks and use"},
		{"pp=2 dp=2 micro=4 stages=6,2 ckpt=all", 290, "use ZeRO-3 on layers 0-6"},
		{"dp=2", 140, "stages"},
		{"dp=4", 20, ""},
	} {
		spec, stages := planText(t, c.text, memoryBatch)
		spec.Config.Memory = Size(c.mib << 20)
		var refused *BudgetError
		if err := checkBudget(spec, stages); !errors.As(err, &refused) {
			t.Fatalf("%s in %d MiB: error %v", c.text, c.mib, err)
		}
		text := refused.Error()
		if got := largest(plannedStages(stages)).Total() - c.mib<<20; refused.Missing() != got {
			t.Errorf("%s in %d MiB: misses %d bytes, says %d", c.text, c.mib, got, refused.Missing())
		}
		for _, part := range []string{"stage 0 needs", "too much", "takes most"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s in %d MiB: %q does not have %q", c.text, c.mib, text, part)
			}
		}
		change := refused.Change
		if change == nil {
			t.Errorf("%s in %d MiB: no change", c.text, c.mib)
			continue
		}
		t.Logf("%s in %d MiB: %s: %d MiB: %v", c.text, c.mib, change.What, change.Bytes>>20, change.Plan)
		if c.what == "" {
			if change.Bytes <= c.mib<<20 {
				t.Errorf("%s in %d MiB: %q fits", c.text, c.mib, change.What)
			}
			continue
		}
		if !strings.Contains(change.What, c.what) {
			t.Errorf("%s in %d MiB: the change is to %q, expected %q", c.text, c.mib, change.What, c.what)
		}
		checkChange(t, spec, change)
	}
}

// checkChange reads the suggested plan as a user would and holds it to the
// budget.
func checkChange(t *testing.T, spec *Spec, change *Change) {
	t.Helper()
	again, stages := planText(t, change.Plan.String(), spec.Config.Batch)
	again.Config.Memory = spec.Config.Memory
	facts, err := specFacts(again)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Plan.Validate(facts, again.Plan.Mesh().Size(), spec.Config.Batch); err != nil {
		t.Errorf("%v: %v", change.Plan, err)
	}
	if err := checkBudget(again, stages); err != nil {
		t.Errorf("%v: %v", change.Plan, err)
	}
	if got := largest(plannedStages(stages)).Total(); got != change.Bytes {
		t.Errorf("%v needs %d bytes, the change says %d", change.Plan, got, change.Bytes)
	}
}
