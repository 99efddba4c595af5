package galvatron

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"regexp"
	"slices"
	"strings"
)

// Version is the engine that a recorded case is of.
type Version int

// The engines.
const (
	V1 Version = 1 // the code of the VLDB paper
	V2 Version = 2 // Hetu-Galvatron 2.0
	V3 Version = 3 // Hetu-Galvatron 3.0
)

// Case is a recorded problem and the engine's answer.
type Case struct {
	Name      string
	Version   Version
	Budget    int        // MB a device
	Theirs    *Answer    // nil where the engine found nothing
	Arguments *Arguments // of V3
	Profile   string     // the folder of profiles that the case names, of V3

	cell  *Cell
	early *early
	plan  [][]int // theirs, in the strategies of the tables
}

// Answer is a plan with its price.
type Answer struct {
	Batch, Chunks int
	Cost          float64    // seconds of a step
	Memory        []int      // MB by stage
	Stages        [][]string // strategies of layers
	Vocab         string     // the strategy of embedding and head, empty where it has none
	Mode          string     // the cell's, of V3
}

// PerSample is seconds a sample.
func (a *Answer) PerSample() float64 { return a.Cost / float64(a.Batch) }

// String names the runs of strategies by stage, as "2-1-4 x10, 2-1-4f x6 | 2-1-4 x16".
func (a *Answer) String() string {
	var stages []string
	for _, stage := range a.Stages {
		var runs []string
		for i := 0; i < len(stage); {
			n := 1
			for i+n < len(stage) && stage[i+n] == stage[i] {
				n++
			}
			runs = append(runs, fmt.Sprintf("%s x%d", stage[i], n))
			i += n
		}
		stages = append(stages, strings.Join(runs, ", "))
	}
	return strings.Join(stages, " | ")
}

// ReadCase reads a case's folder.
func ReadCase(dir fs.FS, name string) (*Case, error) {
	c := &Case{Name: name}
	if err := c.read(dir); err != nil {
		return nil, fmt.Errorf("galvatron: case %s: %w", name, err)
	}
	return c, nil
}

// profilePattern finds the folder of profiles in a case's README.
var profilePattern = regexp.MustCompile(`_profiles/([\w.-]*\w)`)

func (c *Case) read(dir fs.FS) error {
	args, err := readFile(dir, "args.json")
	if err != nil {
		return err
	}
	tables, err := readFile(dir, "tables.json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	result, err := readResult(dir)
	if err != nil {
		return err
	}
	var kind struct {
		Early    json.RawMessage `json:"mem_args"`
		Engine   string          `json:"engine"`
		Memory   int             `json:"memory_constraint"`
		TimeMode Mode            `json:"time_mode"`
	}
	if err := json.Unmarshal(args, &kind); err != nil {
		return fmt.Errorf("args.json: %w", err)
	}
	switch {
	case kind.Early != nil:
		c.Version = V1
		if c.early, err = newEarly(args, tables, result.Division); err != nil {
			return err
		}
		c.Budget = c.early.budget
	case kind.Engine == "v2.0":
		c.Version, c.Budget = V2, budget(kind.Memory)
		err = c.readV2(tables, result)
	case kind.TimeMode != "":
		c.Version = V3
		err = c.readV3(dir, args, tables)
	default:
		err = &ArgumentError{"args.json", "of no engine that is known: VLDB's has mem_args, 2.0's says engine v2.0, 3.0's has time_mode"}
	}
	if err != nil {
		return err
	}
	return c.answer(result)
}

// readV2 reads the tables of version 2.0.
func (c *Case) readV2(data []byte, r *resultFile) error {
	if data == nil {
		return nil
	}
	var t struct {
		Batch  int         `json:"gbsz"`
		Chunks int         `json:"chunks"`
		Names  []string    `json:"strategies"`
		Memory [][]float64 `json:"layer_mem_mb_per_stage"`
		Other  []float64   `json:"other_mem_mb"`
		Synced []float64   `json:"layer_time_with_sync_s"`
		Time   []float64   `json:"layer_time_no_sync_s"`
	}
	if err := json.Unmarshal(data, &t); err != nil {
		return fmt.Errorf("tables.json: %w", err)
	}
	n := len(r.Division)
	if n == 0 || len(t.Memory) != n || len(t.Other) != n {
		return fmt.Errorf("tables.json: %d stages and %d of embedding and head where the result has %d", len(t.Memory), len(t.Other), n)
	}
	if err := figures(append(t.Memory, t.Other, t.Synced, t.Time)...); err != nil {
		return fmt.Errorf("tables.json: %w", err)
	}
	v := Vocab{Time: make([]float64, n), Memory: rounded(t.Other)}
	c.cell = &Cell{Batch: t.Batch, Chunks: t.Chunks, Budget: c.Budget, Names: t.Names, Time: t.Time, Synced: t.Synced, Vocabs: []Vocab{v}, form: slowest}
	for i, layers := range r.Division {
		c.cell.Stages = append(c.cell.Stages, Stage{layers, rounded(t.Memory[i])})
	}
	return c.cell.shape()
}

// rounded rounds MB up.
func rounded(mb []float64) []int {
	list := make([]int, len(mb))
	for i, x := range mb {
		list[i] = int(math.Ceil(x))
	}
	return list
}

// tablesV3 is the tables.json of version 3.0. Fields are pp, tp, sp, dp, kind, checkpoint.
type tablesV3 struct {
	Batch       int         `json:"gbsz"`
	Chunks      int         `json:"chunks"`
	Mode        string      `json:"mode"`
	Buffer      int         `json:"buffer_tp"`
	Budget      int         `json:"memory_for_dp_mb"`
	Names       []string    `json:"strategies"`
	Fields      [][]any     `json:"strategy_fields"`
	Synced      []float64   `json:"time_with_sync_s"`
	Time        []float64   `json:"time_no_sync_s"`
	Vocabs      []string    `json:"vocab_strategies"`
	VocabFields [][]any     `json:"vocab_fields"`
	VocabTime   [][]float64 `json:"vocab_time_no_sync_s"`
	Stages      []struct {
		Layers int       `json:"layers"`
		Memory []float64 `json:"layer_mem_mb"`
		Other  []float64 `json:"other_mem_mb"`
	} `json:"stages"`
}

// readV3 reads the arguments and tables of version 3.0.
func (c *Case) readV3(dir fs.FS, args, data []byte) error {
	c.Arguments = &Arguments{}
	if err := json.Unmarshal(args, c.Arguments); err != nil {
		return err
	}
	c.Budget, c.Profile = c.Arguments.Budget(), c.Arguments.Profile
	if readme, err := readFile(dir, "README.md"); err == nil && c.Profile == "" {
		if found := profilePattern.FindSubmatch(readme); found != nil {
			c.Profile = string(found[1])
		}
	}
	if data == nil {
		return nil
	}
	var t tablesV3
	if err := json.Unmarshal(data, &t); err != nil {
		return fmt.Errorf("tables.json: %w", err)
	}
	if err := t.check(); err != nil {
		return fmt.Errorf("tables.json: %w", err)
	}
	c.Budget = t.Budget
	var err error
	if c.cell, err = t.cell(); err != nil {
		return fmt.Errorf("tables.json: %w", err)
	}
	return nil
}

// check refuses figures that are none.
func (t *tablesV3) check() error {
	rows := append(t.VocabTime, t.Synced, t.Time)
	for _, s := range t.Stages {
		rows = append(rows, s.Memory, s.Other)
	}
	if t.Budget < 0 || t.Budget > maxMB {
		return fmt.Errorf("a budget of %d MB", t.Budget)
	}
	return figures(rows...)
}

// cell makes the tables' cell.
func (t *tablesV3) cell() (*Cell, error) {
	c := &Cell{
		Batch: t.Batch, Chunks: t.Chunks, Budget: t.Budget, Names: t.Names, Time: t.Time, Synced: t.Synced, Mode: t.Mode, Buffer: t.Buffer, form: ends,
	}
	for _, f := range t.Fields {
		s, err := strategyOf(f)
		if err != nil {
			return nil, err
		}
		c.strategies, c.replicas = append(c.strategies, s), append(c.replicas, s.DP)
	}
	if len(t.VocabFields) != len(t.Vocabs) || len(t.VocabTime) != len(t.Vocabs) || len(t.Fields) != len(t.Names) {
		return nil, errors.New("lists of strategies of different lengths")
	}
	for k, name := range t.Vocabs {
		s, err := strategyOf(t.VocabFields[k])
		if err != nil {
			return nil, err
		}
		v := Vocab{Name: name, Strategy: s, Time: t.VocabTime[k]}
		for _, stage := range t.Stages {
			if k >= len(stage.Other) {
				return nil, errors.New("stages without memory of embedding and head")
			}
			v.Memory = append(v.Memory, int(math.Ceil(stage.Other[k])))
		}
		c.Vocabs = append(c.Vocabs, v)
	}
	for _, stage := range t.Stages {
		c.Stages = append(c.Stages, Stage{stage.Layers, rounded(stage.Memory)})
	}
	return c, c.shape()
}

// strategyOf reads pp, tp, sp, dp, kind and, for layers, checkpoint.
func strategyOf(fields []any) (Strategy, error) {
	s := Strategy{CP: 1}
	to := []any{&s.PP, &s.TP, &s.SP, &s.DP, &s.Kind, nil}
	var checkpoint toggle
	to[5] = &checkpoint
	data, err := json.Marshal(fields)
	if err != nil || len(fields) < 5 || len(fields) > 6 {
		return s, fmt.Errorf("strategy %v: want pp, tp, sp, dp, kind and checkpoint", fields)
	}
	to = to[:len(fields)]
	err = json.Unmarshal(data, &to)
	s.Checkpoint = bool(checkpoint)
	if err == nil && (min(s.PP, s.TP, s.SP, s.DP) < 1 || max(s.PP, s.TP, s.SP, s.DP) > maxDevices) {
		err = fmt.Errorf("degrees are 1 to %d", maxDevices)
	}
	if err != nil {
		return s, fmt.Errorf("strategy %s: %w", data, err)
	}
	return s, nil
}

// shape says what is missing in a cell.
func (c *Cell) shape() error {
	n := len(c.Names)
	ok := c.Batch <= maxBatch && c.Chunks <= maxBatch && n > 0 && len(c.Time) == n && len(c.Synced) == n && len(c.Stages) > 0 && len(c.Vocabs) > 0 && c.Batch > 0 && c.Chunks > 0
	layers := 0
	for _, s := range c.Stages {
		layers += s.Layers
		ok = ok && len(s.Memory) == n && s.Layers > 0 && s.Layers <= most && layers <= most
	}
	for _, v := range c.Vocabs {
		ok = ok && len(v.Time) == len(c.Stages) && len(v.Memory) == len(c.Stages)
	}
	if !ok {
		return fmt.Errorf("tables.json: not of %d strategies and %d stages throughout, or of more than %d layers or %d samples", n, len(c.Stages), most, maxBatch)
	}
	return nil
}

// Solve searches the tabulated problem: of V2 and V3 the one cell of the engine's
// answer, of V1 all pipeline degrees whose division is known. Where nothing fits
// the error is an [InfeasibleError].
func (c *Case) Solve() (*Answer, error) {
	switch {
	case c.early != nil:
		return c.early.answer()
	case c.cell == nil:
		return nil, &ArgumentError{"case " + c.Name, "has no tables"}
	}
	p, err := c.cell.Solve()
	if err != nil {
		return nil, err
	}
	return p.Answer(), nil
}

// Refused is why the cell of the engine's answer is refused, nil where it is not.
func (c *Case) Refused() error {
	if c.cell == nil {
		return nil
	}
	return c.cell.check()
}

// Tabulated says that there is something to solve without profiles.
func (c *Case) Tabulated() bool { return c.early != nil || c.cell != nil }

// Answer is the plan with its price.
func (p *Plan) Answer() *Answer {
	c := p.Cell
	a := &Answer{Batch: c.Batch, Chunks: c.Chunks, Cost: p.Cost, Memory: p.Memory, Vocab: c.Vocabs[p.Vocab].Name, Mode: p.Mode()}
	for _, stage := range p.Layers {
		var names []string
		for _, s := range stage {
			names = append(names, c.Names[s])
		}
		a.Stages = append(a.Stages, names)
	}
	return a
}

// answer solves.
func (e *early) answer() (*Answer, error) {
	if e.time == nil {
		if e.feasible() {
			return nil, &ArgumentError{"tables", "there are none, and memory alone does not rule the problem out"}
		}
		return nil, &InfeasibleError{Budget: e.budget, Cells: len(e.degrees())}
	}
	stages := e.solve()
	if stages == nil {
		return nil, &InfeasibleError{Budget: e.budget, Cells: len(e.degrees())}
	}
	a := &Answer{Batch: e.batch}
	a.Cost, a.Memory = e.cost(stages)
	for _, stage := range stages {
		var names []string
		for _, s := range stage {
			names = append(names, e.strategies[s].String())
		}
		a.Stages = append(a.Stages, names)
	}
	return a, nil
}

// PriceTheirs is the cost of the engine's plan by the tables and formulas here, and
// the MB of each stage.
func (c *Case) PriceTheirs() (cost float64, memory []int, err error) {
	switch {
	case c.plan == nil:
		return 0, nil, &ArgumentError{"case " + c.Name, "has no plan of the engine's to price"}
	case c.early != nil:
		cost, memory = c.early.cost(c.plan)
		return cost, memory, nil
	}
	for k, v := range c.cell.Vocabs {
		if c.Theirs.Vocab != "" && v.Name != c.Theirs.Vocab {
			continue
		}
		x, mb, err := c.cell.Price(k, c.plan)
		if err != nil {
			return 0, nil, err
		}
		if memory == nil || x < cost {
			cost, memory = x, mb
		}
	}
	return cost, memory, nil
}

// names lists the strategies of the tables.
func (c *Case) names() []string {
	if c.early == nil {
		return c.cell.Names
	}
	var list []string
	for _, s := range c.early.strategies {
		list = append(list, s.String())
	}
	return list
}

// answer takes the engine's answer.
func (c *Case) answer(r *resultFile) error {
	if r.Cost == 0 {
		return nil
	}
	c.Theirs = &Answer{Batch: r.Batch, Chunks: r.Chunks, Cost: r.Cost, Memory: r.memory(), Stages: r.stages(), Mode: r.Mode}
	if !c.Tabulated() || (c.early != nil && c.early.time == nil) {
		return nil
	}
	if c.Version == V3 {
		for _, v := range c.cell.Vocabs {
			if s := v.Strategy; s.Width() == r.VocabWidth && digit(s.SP > 1) == r.VocabSP && digit(s.Kind == ZeRO3) == r.VocabZeRO3 {
				c.Theirs.Vocab = v.Name
			}
		}
	}
	names := c.names()
	for _, stage := range c.Theirs.Stages {
		var list []int
		for _, name := range stage {
			i := slices.Index(names, name)
			if i < 0 {
				return fmt.Errorf("result.json: strategy %s is not in the tables", name)
			}
			list = append(list, i)
		}
		c.plan = append(c.plan, list)
	}
	return c.checkPlan()
}

// checkPlan refuses an answer that is not of the problem's layers.
func (c *Case) checkPlan() error {
	var want []int
	if c.early != nil {
		want = c.early.divide(len(c.plan))
	} else {
		for _, s := range c.cell.Stages {
			want = append(want, s.Layers)
		}
	}
	var got []int
	for _, stage := range c.plan {
		got = append(got, len(stage))
	}
	if !slices.Equal(got, want) || (c.early != nil && len(c.early.of(len(c.plan))) == 0) {
		return fmt.Errorf("result.json: stages of %v layers, the problem has %v", got, want)
	}
	return nil
}
