package parallel

import (
	"fmt"
	"slices"
	"strconv"
)

// Validate checks that the plan fits the model, so many workers and so many
// sequences a step. Its errors are a *ValueError, a *RanksError, a *MeshError, a
// *StagesError, a *WorkersError, a *BatchError or a *DegreeError.
func (p *Plan) Validate(f Facts, workers, batch int) error {
	if err := p.checkValues(); err != nil {
		return err
	}
	if need := p.Mesh().Size(); need != workers {
		return &WorkersError{Plan: p, Need: need, Have: workers}
	}
	if err := p.checkStages(f); err != nil {
		return err
	}
	for i, s := range p.LayerStrategies(f) {
		if dp := s.Degree(RoleDP); batch < 1 || batch%(dp*p.Micro) != 0 {
			err := &BatchError{Batch: batch, DP: dp, Micro: p.Micro, Ways: p.BatchWays()}
			if len(p.Layers) > 0 {
				err.Layer = f.layerName(i)
			}
			return err
		}
		if err := f.checkDegrees(i, s); err != nil {
			return err
		}
	}
	return nil
}

// Admit checks that a strategy splits every layer of the model evenly. Its errors
// are a *DegreeError.
func (f Facts) Admit(s Strategy) error {
	for layer := range f.Layers {
		if err := f.checkDegrees(layer, s); err != nil {
			return err
		}
	}
	return nil
}

// checkDegrees checks that what a strategy splits of a layer divides. The inner
// width and the vocabulary need not: then the tensor-parallel ranks share the
// sequence there.
func (f Facts) checkDegrees(layer int, s Strategy) error {
	if layer >= len(f.Layers) {
		return nil
	}
	l, tp, sp, cp := f.Layers[layer], s.Degree(RoleTP), s.Degree(RoleSP), s.Degree(RoleCP)
	fail := func(r Role, what string, size, parts int) error {
		// The other degrees of the product divide size.
		works := divisors(size / (parts / s.Degree(r)))
		return &DegreeError{string(r), s.Degree(r), layer, l.Name, fmt.Sprintf("%d %s", size, what), parts, works}
	}
	const heads, tokens = "attention heads", "tokens of a sequence"
	switch {
	case l.Heads%tp != 0:
		return fail(RoleTP, heads, l.Heads, tp)
	case l.Heads%(tp*sp) != 0:
		return fail(RoleSP, heads, l.Heads, tp*sp)
	case f.Seq%cp != 0:
		return fail(RoleCP, tokens, f.Seq, cp)
	case f.Seq%(sp*cp) != 0:
		return fail(RoleSP, tokens, f.Seq, sp*cp)
	case s.SequenceParallel && f.Seq%(sp*cp*tp) != 0:
		return fail(RoleTP, tokens, f.Seq, sp*cp*tp)
	}
	return nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// maxDegree bounds every number of a plan, and maxRanks the workers it is for, so
// that products are safe.
const (
	maxDegree = 1 << 15
	maxRanks  = 1 << 20
)

// checkValues checks what must hold for any model.
func (p *Plan) checkValues() error {
	for _, v := range []struct {
		key   string
		value int
	}{{"pp", p.PP}, {"micro", p.Micro}} {
		if v.value < 1 || v.value > maxDegree {
			return &ValueError{v.key, strconv.Itoa(v.value), fmt.Sprintf("must be 1 to %d", maxDegree)}
		}
	}
	if err := p.Strategy.check(""); err != nil {
		return err
	}
	for i, s := range p.Layers {
		if err := s.check(fmt.Sprintf("layer %d ", i)); err != nil {
			return err
		}
	}
	if len(p.Layers) > maxDegree || len(p.Stages) > maxDegree {
		return &ValueError{"layers", strconv.Itoa(len(p.Layers)), fmt.Sprintf("with %d stages: must be at most %d", len(p.Stages), maxDegree)}
	}
	if ranks := p.distinct()[0].Ranks(); ranks > maxRanks/p.PP {
		return &ValueError{"plan", fmt.Sprintf("pp=%d %v", p.PP, p.distinct()[0]), fmt.Sprintf("is for more than %d workers", maxRanks)}
	}
	if !slices.Contains(Schedules(), p.Schedule) {
		return &ValueError{"schedule", string(p.Schedule), "must be gpipe or 1f1b"}
	}
	_, err := arrange(p.distinct())
	return err
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
			return fail(fmt.Sprintf("stage %d is without layers", s))
		}
		sum += n
	}
	if sum != f.Blocks {
		return fail(fmt.Sprintf("the stages hold %d blocks", sum))
	}
	return nil
}
