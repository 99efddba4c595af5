package galvatron

import (
	"encoding/json"
	"strconv"
	"strings"
)

// strategyFile is the engine's JSON of a plan.
type strategyFile struct {
	PP          int          `json:"pp_deg"`
	Widths      string       `json:"tp_sizes_enc"`
	Consecutive string       `json:"tp_consecutive_flags"`
	ZeRO3       string       `json:"dp_types_enc"`
	Ulysses     string       `json:"use_sp"`
	Checkpoint  string       `json:"checkpoint"`
	World       int          `json:"world_size"`
	Batch       int          `json:"global_bsz"`
	Chunks      int          `json:"chunks"`
	Division    string       `json:"pp_division"`
	Schedule    Schedule     `json:"pipeline_type"`
	DefaultKind DataParallel `json:"default_dp_type"`
	VocabWidth  int          `json:"vtp"`
	VocabSP     int          `json:"vsp"`
	VocabZeRO3  int          `json:"embed_sdp"`
	CP          string       `json:"cp_sizes_enc,omitempty"` // where some layer has context parallelism
	VocabCP     int          `json:"vcp,omitempty"`
}

// StrategyJSON is a plan that was searched from profiles as the engine's
// runtime reads it.
func (p *Plan) StrategyJSON(a *Arguments) ([]byte, error) {
	c := p.Cell
	if len(c.strategies) == 0 {
		return nil, &ArgumentError{"plan", "it was made from tables, which do not tell the degrees of strategies"}
	}
	v := c.Vocabs[p.Vocab].Strategy
	f := strategyFile{
		PP: len(c.Stages), World: a.World(), Batch: c.Batch, Chunks: c.Chunks, Schedule: a.Schedule, DefaultKind: a.DefaultKind,
		VocabWidth: v.Width(), VocabSP: digit(v.SP > 1), VocabZeRO3: digit(v.Kind == ZeRO3),
	}
	var widths, consecutive, zero, ulysses, checkpoint, cp, division []int
	context := v.CP > 1
	for _, stage := range p.Layers {
		division = append(division, len(stage))
		for _, i := range stage {
			s := c.strategies[i]
			widths, consecutive, cp = append(widths, s.Width()), append(consecutive, 1), append(cp, s.CP)
			zero, ulysses = append(zero, digit(s.Kind == ZeRO3)), append(ulysses, digit(s.SP > 1))
			checkpoint = append(checkpoint, digit(s.Checkpoint))
			context = context || s.CP > 1
		}
	}
	f.Widths, f.Consecutive, f.ZeRO3, f.Ulysses = joined(widths), joined(consecutive), joined(zero), joined(ulysses)
	f.Checkpoint, f.Division = joined(checkpoint), joined(division)
	if context {
		f.CP, f.VocabCP = joined(cp), v.CP
	}
	return json.MarshalIndent(f, "", "    ")
}

func digit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// joined writes numbers with commas between.
func joined(list []int) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

// Strategies names the strategies of all layers in order.
func (p *Plan) Strategies() []string {
	var list []string
	for _, stage := range p.Layers {
		for _, s := range stage {
			list = append(list, p.Cell.Names[s])
		}
	}
	return list
}

// Mode is the engine's mode of the plan's cell: tp_only where no layer takes Ulysses
// even if the cell would let it.
func (p *Plan) Mode() string {
	c := p.Cell
	ulysses := c.Vocabs[p.Vocab].Strategy.SP > 1
	for _, stage := range p.Layers {
		for _, i := range stage {
			ulysses = ulysses || (len(c.strategies) > 0 && c.strategies[i].SP > 1)
		}
	}
	if c.Mode == tpWithSP && !ulysses {
		return tpOnly
	}
	return c.Mode
}
