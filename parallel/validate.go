package parallel

import (
	"fmt"
	"slices"
	"strconv"
)

// Validate checks that this version can run the plan for the model on so many
// workers with so many sequences a step. Its errors are a *ValueError, a
// *StagesError, a *WorkersError, a *BatchError or an *UnsupportedError.
func (p *Plan) Validate(f Facts, workers, batch int) error {
	if err := p.checkValues(); err != nil {
		return err
	}
	if err := p.supported(); err != nil {
		return err
	}
	if need := p.Mesh().Size(); need != workers {
		return &WorkersError{Plan: p, Need: need, Have: workers}
	}
	if err := p.checkStages(f); err != nil {
		return err
	}
	if batch < 1 || batch%(p.DP*p.Micro) != 0 {
		return &BatchError{Batch: batch, DP: p.DP, Micro: p.Micro}
	}
	return nil
}

// maxDegree bounds every number of a plan, so that their products are safe.
const maxDegree = 1 << 15

// checkValues checks what must hold for any model.
func (p *Plan) checkValues() error {
	for _, v := range []struct {
		key   string
		value int
	}{{"pp", p.PP}, {"dp", p.DP}, {"tp", p.TP}, {"micro", p.Micro}} {
		if v.value < 1 || v.value > maxDegree {
			return &ValueError{v.key, strconv.Itoa(v.value), fmt.Sprintf("must be 1 to %d", maxDegree)}
		}
	}
	if p.ZeRO < 0 || p.ZeRO > 3 {
		return &ValueError{"zero", strconv.Itoa(p.ZeRO), "must be 0, 1, 2 or 3"}
	}
	if !slices.Contains(Schedules(), p.Schedule) {
		return &ValueError{"schedule", string(p.Schedule), "must be gpipe or 1f1b"}
	}
	return nil
}

// supported refuses what this version cannot run yet.
func (p *Plan) supported() error {
	for _, s := range append([]Strategy{p.Strategy}, p.Layers...) {
		switch {
		case s.TP > 1:
			return &UnsupportedError{"tp", strconv.Itoa(s.TP), "use tp=1"}
		case s.ZeRO > 0:
			return &UnsupportedError{"zero", strconv.Itoa(s.ZeRO), "use zero=0"}
		case s.Checkpoint:
			return &UnsupportedError{"ckpt", "all", "use ckpt=none"}
		case s != p.Strategy:
			return &UnsupportedError{"layers", fmt.Sprintf("dp=%d", s.DP), "give all layers one strategy"}
		}
	}
	return nil
}

// checkStages checks the stages and the strategies against the model's layers.
func (p *Plan) checkStages(f Facts) error {
	fail := func(problem string) error {
		return &StagesError{PP: p.PP, Stages: p.Stages, Blocks: f.Blocks, Problem: problem}
	}
	if p.PP > f.Blocks {
		return fail("more stages than blocks")
	}
	if n := len(p.Layers); n > 0 && n != f.Blocks+2 {
		return &ValueError{"layers", strconv.Itoa(n), fmt.Sprintf("the plan must list the model's %d layers, or none", f.Blocks+2)}
	}
	if len(p.Stages) == 0 {
		return nil
	}
	if len(p.Stages) != p.PP {
		return fail(fmt.Sprintf("%d stages listed", len(p.Stages)))
	}
	sum := 0
	for s, n := range p.Stages {
		if n < 1 {
			return fail(fmt.Sprintf("stage %d is empty", s))
		}
		sum += n
	}
	if sum != f.Blocks {
		return fail(fmt.Sprintf("the stages hold %d blocks", sum))
	}
	return nil
}
