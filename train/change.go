package train

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
)

// Change is a plan that needs less memory than another.
type Change struct {
	What  string // what to do, as "checkpoint layers 1-3"
	Plan  *parallel.Plan
	Bytes int64 // of the largest worker
}

// changer looks for changes of a plan that fit a budget, by compiling them.
type changer struct {
	spec    *Spec
	facts   parallel.Facts
	backend exec.Backend
	stages  []*stagePlan // of the plan as it is
	best    *Change      // that misses by least
}

// cheapestChange tries changes of the plan, those that cost least time first:
// checkpointing no more layers than it takes, ZeRO, more micro-batches, these
// together, and more stages. It returns the first that fits, or else the one
// that misses by least, or nil where there is nothing to change.
func cheapestChange(spec *Spec, stages []*stagePlan) (*Change, error) {
	backend, err := cpu.New(spec.Threads)
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	facts, err := specFacts(spec)
	if err != nil {
		return nil, err
	}
	c := &changer{spec: spec, facts: facts, backend: backend, stages: stages}
	if fits := c.fewestCheckpoints(); fits != nil {
		return fits, nil
	}
	for _, x := range c.candidates() {
		plan := c.plan()
		if x.do(plan) && c.try(x.what, plan) {
			return c.best, nil
		}
	}
	return c.best, nil
}

func specFacts(spec *Spec) (parallel.Facts, error) {
	cfg, err := models.ParseConfig(spec.Model)
	if err != nil {
		return parallel.Facts{}, err
	}
	m, err := models.Build(cfg, models.Options{Batch: 1, Seq: spec.Config.Seq, Train: true})
	if err != nil {
		return parallel.Facts{}, err
	}
	return parallel.FactsOf(m), nil
}

// try compiles a changed plan, keeps it if it is the best so far, and reports
// whether it fits. A plan that is not valid does not.
func (c *changer) try(what string, plan *parallel.Plan) bool {
	if plan.Validate(c.facts, plan.Mesh().Size(), c.spec.Config.Batch) != nil {
		return false
	}
	var bytes int64
	for stage := range plan.PP {
		n, err := c.bytes(plan, stage)
		if err != nil {
			return false
		}
		bytes = max(bytes, n)
	}
	if c.best == nil || bytes < c.best.Bytes {
		c.best = &Change{what, plan, bytes}
	}
	return bytes <= int64(c.spec.Config.Memory)
}

// bytes is what a worker of a stage needs under a plan.
func (c *changer) bytes(plan *parallel.Plan, stage int) (int64, error) {
	spec := *c.spec
	spec.Plan = plan
	s, err := planStage(&spec, stage, c.backend)
	if err != nil {
		return 0, err
	}
	return s.planned.Total(), nil
}

// fewestCheckpoints checkpoints, in each stage that does not fit, as few blocks
// as suffice, or returns nil.
func (c *changer) fewestCheckpoints() *Change {
	plan := c.plan()
	layers := plan.LayerStrategies(c.facts)
	var changed []int
	first := 1
	for stage, n := range plan.BlocksPerStage(c.facts) {
		var blocks []int
		for l := first; l < first+n; l++ {
			if !layers[l].Checkpoint {
				blocks = append(blocks, l)
			}
		}
		first += n
		if c.stages[stage].planned.Total() <= int64(c.spec.Config.Memory) {
			continue
		}
		k := c.fewest(stage, layers, blocks)
		if k > len(blocks) {
			return nil
		}
		changed = append(changed, blocks[:k]...)
	}
	if len(changed) == 0 {
		return nil
	}
	if !c.try("checkpoint "+layerNumbers(changed), withCheckpoints(plan, layers, changed)) {
		return nil
	}
	return c.best
}

// fewest is how many of the blocks of a stage must be checkpointed for it to
// fit, more than there are if all do not suffice.
func (c *changer) fewest(stage int, layers []parallel.Strategy, blocks []int) int {
	fits := func(k int) bool {
		n, err := c.bytes(withCheckpoints(c.plan(), layers, blocks[:k]), stage)
		return err == nil && n <= int64(c.spec.Config.Memory)
	}
	if len(blocks) == 0 || !fits(len(blocks)) {
		return len(blocks) + 1
	}
	return 1 + sort.Search(len(blocks)-1, func(k int) bool { return fits(k + 1) })
}

// plan copies the plan as it is.
func (c *changer) plan() *parallel.Plan {
	p := *c.spec.Plan
	p.Layers, p.Provenance = slices.Clone(p.Layers), parallel.Provenance{}
	return &p
}

// withCheckpoints checkpoints layers besides those that are.
func withCheckpoints(plan *parallel.Plan, layers []parallel.Strategy, more []int) *parallel.Plan {
	p := *plan
	if len(p.Layers) == 0 && len(more) == len(layers)-2 {
		p.Checkpoint = true
		return &p
	}
	p.Strategy = parallel.Default().Strategy
	p.Layers = slices.Clone(layers)
	for _, l := range more {
		p.Layers[l].Checkpoint = true
	}
	return &p
}

// layerNumbers prints "layer 3" or "layers 1-3, 5".
func layerNumbers(layers []int) string {
	var parts []string
	for i := 0; i < len(layers); {
		j := i
		for j+1 < len(layers) && layers[j+1] == layers[j]+1 {
			j++
		}
		text := fmt.Sprint(layers[i])
		if j > i {
			text += fmt.Sprintf("-%d", layers[j])
		}
		parts = append(parts, text)
		i = j + 1
	}
	if len(layers) == 1 {
		return "layer " + parts[0]
	}
	return "layers " + strings.Join(parts, ", ")
}

// An edit changes a plan; do reports whether there was anything to change.
type edit struct {
	what string
	do   func(*parallel.Plan) bool
}

// candidates lists edits, those that cost least time first.
func (c *changer) candidates() []edit {
	checkpoint, zero := c.checkpointing(), c.zeroes()
	micro := c.microBatches()
	all := slices.Concat([]edit{checkpoint}, zero, micro)
	for _, z := range zero {
		all = append(all, join(checkpoint, z))
	}
	for _, m := range micro {
		all = append(all, join(checkpoint, m))
	}
	if len(zero) > 0 && len(micro) > 0 {
		all = append(all, join(checkpoint, zero[len(zero)-1], micro[len(micro)-1]))
	}
	for _, s := range c.moreStages() {
		all = append(all, s, join(s, checkpoint))
	}
	return all
}

// join does several edits, of which at least the first must change something.
func join(edits ...edit) edit {
	var names []string
	for _, e := range edits {
		names = append(names, e.what)
	}
	return edit{strings.Join(names, " and "), func(p *parallel.Plan) bool {
		changed := false
		for _, e := range edits {
			changed = e.do(p) || changed
		}
		return changed
	}}
}

// checkpointing checkpoints every block.
func (c *changer) checkpointing() edit {
	return edit{"checkpoint all blocks", func(p *parallel.Plan) bool {
		changed := len(p.Layers) == 0 && !p.Checkpoint
		if len(p.Layers) == 0 {
			p.Checkpoint = true
		}
		for l := range p.Layers {
			if l > 0 && l < len(p.Layers)-1 {
				changed = changed || !p.Layers[l].Checkpoint
				p.Layers[l].Checkpoint = true
			}
		}
		return changed
	}}
}

// zeroes shards more of what ranks hold in common: on the stages that do not
// fit, and last on all.
func (c *changer) zeroes() []edit {
	var all []edit
	short := c.shortLayers()
	for level := 1; level <= 3; level++ {
		if len(short) > 0 {
			all = append(all, edit{fmt.Sprintf("use ZeRO-%d on %s", level, layerNumbers(short)), func(p *parallel.Plan) bool {
				p.Layers = p.LayerStrategies(c.facts)
				p.Strategy = parallel.Default().Strategy
				return raiseZeRO(p, short, level)
			}})
		} else {
			all = append(all, edit{fmt.Sprintf("use ZeRO-%d", level), func(p *parallel.Plan) bool { return raiseZeRO(p, nil, level) }})
		}
	}
	if len(short) > 0 {
		all = append(all, edit{"use ZeRO-3", func(p *parallel.Plan) bool { return raiseZeRO(p, nil, 3) }})
	}
	return all
}

// shortLayers are the layers of the stages that do not fit, nil where that is
// all stages.
func (c *changer) shortLayers() []int {
	var short []int
	fit := false
	blocks := c.spec.Plan.BlocksPerStage(c.facts)
	first := 1
	for stage, n := range blocks {
		from, to := first, first+n
		first = to
		if stage == 0 {
			from = 0
		}
		if stage == len(blocks)-1 {
			to++
		}
		if c.stages[stage].planned.Total() <= int64(c.spec.Config.Memory) {
			fit = true
			continue
		}
		for l := from; l < to; l++ {
			short = append(short, l)
		}
	}
	if !fit {
		return nil
	}
	return short
}

// raiseZeRO sets the level on layers, or where nil on all, whose parameters
// several ranks hold.
func raiseZeRO(p *parallel.Plan, layers []int, level int) bool {
	raise := func(s *parallel.Strategy) bool {
		if s.ZeRO >= level || s.Ranks() == s.Degree(parallel.RoleTP) {
			return false
		}
		s.ZeRO = level
		return true
	}
	if len(p.Layers) == 0 {
		return raise(&p.Strategy)
	}
	changed := false
	for l := range p.Layers {
		if layers == nil || slices.Contains(layers, l) {
			changed = raise(&p.Layers[l]) || changed
		}
	}
	return changed
}

// microBatches splits the rows of a step into more micro-batches.
func (c *changer) microBatches() []edit {
	var all []edit
	rows := c.spec.Config.Batch / c.spec.Plan.BatchWays()
	for m := c.spec.Plan.Micro + 1; m <= rows; m++ {
		if rows%m == 0 {
			all = append(all, edit{fmt.Sprintf("use %d micro-batches", m), func(p *parallel.Plan) bool {
				p.Micro = m
				return true
			}})
		}
	}
	return all
}

// moreStages makes stages of ranks that share the batch, and then of more
// workers. A pipeline needs at least as many micro-batches as stages.
func (c *changer) moreStages() []edit {
	plan := c.spec.Plan
	if len(plan.Layers) > 0 {
		return nil
	}
	var all []edit
	dp := plan.Degree(parallel.RoleDP)
	stages := func(times, ways int) edit {
		pp, workers := plan.PP*times, plan.Mesh().Size()*times/ways
		what := fmt.Sprintf("use %d stages", pp)
		if workers > plan.Mesh().Size() {
			what += fmt.Sprintf(" on %d workers", workers)
		}
		return edit{what, func(p *parallel.Plan) bool {
			p.PP, p.DP, p.Stages = pp, dp/ways, nil
			rows := c.spec.Config.Batch / p.DP
			for m := p.Micro; m <= min(rows, 4*pp); m++ {
				if rows%m == 0 {
					p.Micro = m
				}
			}
			return true
		}}
	}
	for times := 2; times <= dp && plan.PP*times <= c.facts.Blocks; times++ {
		if dp%times == 0 {
			all = append(all, stages(times, times))
		}
	}
	for times := 2; plan.PP*times <= c.facts.Blocks; times *= 2 {
		all = append(all, stages(times, 1))
	}
	return all
}
