package galvatron

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// early is a problem of the engine's first version, that of the VLDB paper: layers
// of several types, costs of whole batches that add up over layers and stages, and
// layout changes between layers that are scored. Pipelines are in the costs of
// layers, as GPipe's share of idle time.
type early struct {
	batch      int
	budget     int   // MB
	layers     []int // by type
	strategies []earlyStrategy
	pace       map[int]map[string]float64 // ms/MB by pipeline degree and "ranks" or "ranks_consecutive"
	memory     [][]float64                // MB of a layer, by type and strategy
	other      []float64                  // MB of embedding and head and the runtime, by strategy
	time       [][]float64                // seconds by type and strategy, nil where it is not tabulated
	division   []int                      // layers by stage of the one pipeline that is known, of several types
}

// earlyStrategy is a strategy of the first version. Consecutive says which of
// TP's and DP's ranks are neighbours, where both are above 1.
type earlyStrategy struct {
	PP, TP, DP  int
	Consecutive *int
	ZeRO3       bool
}

// UnmarshalJSON reads [pp, tp, dp, {"tp": 1, "fsdp": 0}].
func (s *earlyStrategy) UnmarshalJSON(data []byte) error {
	var info struct {
		TP   *int `json:"tp"`
		FSDP int  `json:"fsdp"`
	}
	if err := json.Unmarshal(data, &[]any{&s.PP, &s.TP, &s.DP, &info}); err != nil {
		return err
	}
	s.Consecutive, s.ZeRO3 = info.TP, info.FSDP != 0
	if min(s.PP, s.TP, s.DP) < 1 || max(s.PP, s.TP, s.DP) > maxDevices {
		return fmt.Errorf("%.100s: degrees are 1 to %d", data, maxDevices)
	}
	return nil
}

// String is the engine's name.
func (s earlyStrategy) String() string {
	zero, tp, dp := "", "", ""
	if s.ZeRO3 {
		zero = "f"
	}
	if s.Consecutive != nil {
		tp, dp = "*", ""
		if *s.Consecutive == 0 {
			tp, dp = "", "*"
		}
	}
	return fmt.Sprintf("%d-%d%s-%d%s%s", s.PP, s.TP, tp, s.DP, zero, dp)
}

// earlyFile is the args.json of a case.
type earlyFile struct {
	Budget     int                            `json:"mem_mb"`
	Layers     []int                          `json:"layers"`
	Strategies []earlyStrategy                `json:"strategies"`
	Pace       map[int]map[string]float64     `json:"comm_coe_ms_per_MB"`
	Memory     []earlyMemory                  `json:"mem_args"`
	Chunks     map[int]map[string]json.Number `json:"chunk_table"`
}

type earlyMemory struct {
	Parameters      float64         `json:"parameter_size"`
	Activation      map[int]float64 `json:"tp_activation_per_bsz_dict"`
	OtherStates     float64         `json:"other_model_states"`
	OtherActivation float64         `json:"other_activation_per_bsz"`
}

// earlyTables is the tables.json of a case.
type earlyTables struct {
	Batch      int         `json:"gbsz"`
	Strategies []string    `json:"strategies"`
	Memory     [][]float64 `json:"layer_mem_mb"`
	Other      []float64   `json:"other_mem_mb"`
	Time       [][]float64 `json:"layer_time_s"`
}

// maxCells bounds MB times layers times strategies, a byte each in the search: the
// problems of the paper have up to 40 million.
const maxCells = 1 << 29

// newEarly makes a problem from its files. Without tables memory alone is
// priced, for the one batch that the arguments tell.
func newEarly(args, tables []byte, division []int) (*early, error) {
	var f earlyFile
	if err := json.Unmarshal(args, &f); err != nil {
		return nil, err
	}
	e := &early{budget: f.Budget, layers: f.Layers, strategies: f.Strategies, pace: f.Pace, division: division}
	if len(f.Layers) == 0 || len(f.Strategies) == 0 || len(f.Memory) != len(f.Layers) {
		return nil, &ArgumentError{"layers", fmt.Sprintf("%d types, %d of them with memory, %d strategies", len(f.Layers), len(f.Memory), len(f.Strategies))}
	}
	total := 0
	for _, n := range f.Layers {
		if total += n; n < 1 || total > most {
			return nil, &ArgumentError{"layers", fmt.Sprint(f.Layers)}
		}
	}
	divided := 0
	for _, n := range division {
		divided += n
	}
	switch {
	case len(division) > 0 && divided != total:
		return nil, &ArgumentError{"pp_division", fmt.Sprintf("%v of %d layers", division, total)}
	case len(f.Strategies) > math.MaxInt8:
		return nil, &ArgumentError{"strategies", fmt.Sprintf("%d of them", len(f.Strategies))}
	case f.Budget < 1 || f.Budget > 1<<20:
		return nil, &ArgumentError{"mem_mb", fmt.Sprint(f.Budget)}
	case f.Budget*total*len(f.Strategies) > maxCells:
		return nil, &ArgumentError{"mem_mb", fmt.Sprintf("%d MB for %d layers and %d strategies: the search over all of them takes more memory than it may", f.Budget, total, len(f.Strategies))}
	}
	for batch := range f.Chunks {
		e.batch = batch
	}
	if tables == nil {
		return e, cmp.Or(e.price(f.Memory), e.check())
	}
	var t earlyTables
	if err := json.Unmarshal(tables, &t); err != nil {
		return nil, err
	}
	e.batch, e.memory, e.other, e.time = t.Batch, t.Memory, t.Other, t.Time
	n := len(e.strategies)
	short := func(row []float64) bool { return len(row) != n }
	if len(t.Strategies) != n || len(t.Memory) != len(e.layers) || len(t.Time) != len(e.layers) || short(t.Other) ||
		slices.ContainsFunc(t.Memory, short) || slices.ContainsFunc(t.Time, short) {
		return nil, &ArgumentError{"tables", fmt.Sprintf("not of %d layer types and %d strategies", len(e.layers), n)}
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	for i, s := range e.strategies {
		if s.String() != t.Strategies[i] {
			return nil, &ArgumentError{"tables", fmt.Sprintf("strategy %s where the arguments have %s", t.Strategies[i], s)}
		}
	}
	return e, nil
}

// check refuses figures that are none.
func (e *early) check() error {
	if e.batch < 0 || e.batch > maxBatch {
		return &ArgumentError{"gbsz", fmt.Sprint(e.batch)}
	}
	if err := figures(slices.Concat(e.memory, e.time, [][]float64{e.other})...); err != nil {
		return &ArgumentError{"tables", err.Error()}
	}
	return nil
}

// price computes memory: model states, with ZeRO-3 a share and a fortieth, and
// activations of the whole local batch.
func (e *early) price(types []earlyMemory) error {
	for _, s := range e.strategies {
		e.other = append(e.other, types[0].OtherStates+types[0].OtherActivation*(float64(e.batch)/float64(s.TP)/float64(s.DP))+contextMB)
	}
	for _, t := range types {
		var row []float64
		for _, s := range e.strategies {
			activation, ok := t.Activation[s.TP]
			if !ok {
				return &ArgumentError{"mem_args", fmt.Sprintf("no activation for tp %d", s.TP)}
			}
			states := 4 * t.Parameters / float64(s.TP)
			if s.ZeRO3 {
				states *= 1/float64(s.DP) + 0.025
			}
			row = append(row, states+activation*float64(e.batch)/float64(s.DP))
		}
		e.memory = append(e.memory, row)
	}
	return nil
}

// types lists the type of every layer.
func (e *early) types() []int {
	var list []int
	for t, n := range e.layers {
		list = append(list, slices.Repeat([]int{t}, n)...)
	}
	return list
}

// of lists the strategies of a pipeline degree.
func (e *early) of(pp int) []int {
	var list []int
	for i, s := range e.strategies {
		if s.PP == pp {
			list = append(list, i)
		}
	}
	return list
}

// degrees lists the pipeline degrees.
func (e *early) degrees() []int {
	var list []int
	for _, s := range e.strategies {
		list = append(list, s.PP)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// divide is the layers of each stage: even for one type, or the division that is
// known; nil where none is.
func (e *early) divide(pp int) []int {
	switch total := len(e.types()); {
	case pp == 1:
		return []int{total}
	case len(e.layers) == 1 && total%pp == 0:
		return slices.Repeat([]int{total / pp}, pp)
	case len(e.division) == pp:
		return e.division
	}
	return nil
}

// room is the MB that layers may take on a stage. Of several types only the first
// stage holds embedding and head.
func (e *early) room(pp, stage int) int {
	if len(e.layers) > 1 && stage > 0 {
		return e.budget
	}
	return e.budget - int(math.Ceil(e.other[e.of(pp)[0]]))
}

// change is the time of a layer's change of layout, and what sorts ZeRO-3 after
// plain data parallelism.
func (e *early) change(from, to earlyStrategy) float64 {
	if from.TP == to.TP && from.DP == to.DP && from.ZeRO3 && !to.ZeRO3 && same(from.Consecutive, to.Consecutive) {
		return 1e-4
	}
	differ := from.Consecutive != nil && to.Consecutive != nil && *from.Consecutive != *to.Consecutive
	turned := from.TP == to.TP && differ
	split := from.TP*from.DP == 8 && from.TP == 4 && to.TP == 2 && differ
	if to.TP <= from.TP && !turned && !split {
		return 0
	}
	key := fmt.Sprint(to.TP)
	if to.TP > 1 && to.DP > 1 && to.Consecutive != nil {
		key = fmt.Sprintf("%d_%d", to.TP, *to.Consecutive)
	}
	activation := 2 * float64(e.batch) / float64(to.DP)
	return (float64(to.TP) - 1) * activation / float64(to.TP) * e.pace[to.PP][key] * 0.001
}

func same(a, b *int) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

// cost adds up a plan: seconds and the MB of each stage.
func (e *early) cost(stages [][]int) (cost float64, memory []int) {
	types, at := e.types(), 0
	for i, stage := range stages {
		mb := e.budget - e.room(len(stages), i)
		for l, s := range stage {
			if l > 0 {
				cost += e.change(e.strategies[stage[l-1]], e.strategies[s])
			}
			cost += e.time[types[at]][s]
			mb += int(math.Ceil(e.memory[types[at]][s]))
			at++
		}
		memory = append(memory, mb)
	}
	return cost, memory
}

// solve is the cheapest plan over the pipeline degrees, nil where nothing fits.
func (e *early) solve() [][]int {
	var best [][]int
	least := math.Inf(1)
	for _, pp := range e.degrees() {
		if stages := e.stages(pp); stages != nil {
			if cost, _ := e.cost(stages); cost < least {
				best, least = stages, cost
			}
		}
	}
	return best
}

// stages is the cheapest plan of a pipeline degree, nil where nothing fits or
// the division is unknown.
func (e *early) stages(pp int) [][]int {
	var stages [][]int
	types, at := e.types(), 0
	for i, n := range e.divide(pp) {
		if i > 0 && len(e.layers) == 1 {
			stages = append(stages, stages[0])
			continue
		}
		stage := e.stage(types[at:at+n], pp, e.room(pp, i))
		if stage == nil {
			return nil
		}
		stages = append(stages, stage)
		at += n
	}
	return stages
}

// stage is the dynamic program over layers, MB and strategies, with changes of
// layout between neighbours: the strategies of a stage's layers, nil where they
// do not fit.
func (e *early) stage(types []int, pp, room int) []int {
	list := e.of(pp)
	if room < 0 {
		return nil
	}
	n := len(list)
	least := make([][]float64, n) // seconds so far, by the last layer's strategy and MB
	for s := range least {
		least[s] = make([]float64, room+1)
	}
	from := make([][][]int8, len(types)) // the strategy of the layer before
	for l, t := range types {
		next := make([][]float64, n)
		from[l] = make([][]int8, n)
		for s := range next {
			next[s], from[l][s] = e.layer(least, list, s, l > 0, t, room)
		}
		least = next
	}
	last := 0
	for s := range least {
		if least[s][room] < least[last][room] {
			last = s
		}
	}
	if math.IsInf(least[last][room], 1) {
		return nil
	}
	stage := make([]int, len(types))
	for l := len(types) - 1; l >= 0; l-- {
		stage[l] = list[last]
		before := int(from[l][last][room])
		room -= int(math.Ceil(e.memory[types[l]][list[last]]))
		last = before
	}
	return stage
}

// layer adds a layer of one strategy to what came before it.
func (e *early) layer(before [][]float64, list []int, s int, changes bool, kind, room int) ([]float64, []int8) {
	least, from := make([]float64, room+1), make([]int8, room+1)
	for mb := range least {
		least[mb] = math.Inf(1)
	}
	mb := int(math.Ceil(e.memory[kind][list[s]]))
	if mb > room {
		return least, from
	}
	time := e.time[kind][list[s]]
	for b, row := range before {
		step := time
		if changes {
			step += e.change(e.strategies[list[b]], e.strategies[list[s]])
		}
		to := least[mb:]
		for i, t := range row[:len(to)] {
			if t+step < to[i] {
				to[i], from[mb+i] = t+step, int8(b)
			}
		}
	}
	return least, from
}

// feasible says that some division of the layers into stages fits, with the
// strategies of least memory: stages filled in order as far as they go.
func (e *early) feasible() bool {
	return slices.ContainsFunc(e.degrees(), func(pp int) bool {
		types := e.types()
		stage, left, held := 0, e.room(pp, 0), 0
		for _, t := range types {
			mb := math.MaxInt
			for _, s := range e.of(pp) {
				mb = min(mb, int(math.Ceil(e.memory[t][s])))
			}
			if left < mb {
				if stage++; held == 0 || stage == pp {
					return false // alone it fits on no stage, or on none that is left
				}
				left, held = e.room(pp, stage), 0
			}
			if left < mb {
				return false
			}
			left, held = left-mb, held+1
		}
		return len(types) >= pp
	})
}
