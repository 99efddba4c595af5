package galvatron

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite golden files")

// small reads a case that is made up, and the made-up profiles.
func small(t testing.TB, name string) (*Case, *Profile) {
	t.Helper()
	c, err := ReadCase(os.DirFS(filepath.Join("testdata", "cases", name)), name)
	if err != nil {
		t.Fatal(err)
	}
	if c.Arguments == nil {
		return c, nil
	}
	p, err := ReadProfile(os.DirFS(filepath.Join("testdata", "cases", "_profiles", c.Profile)), c.Arguments)
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

// TestSmallCases: their made-up answers are priced as check.py prices them, and
// ours cost no more.
func TestSmallCases(t *testing.T) {
	for _, name := range []string{"vldb-small", "2.0-small", "3.0-small"} {
		c, _ := small(t, name)
		cost, memory, err := c.PriceTheirs()
		if err != nil || !near(cost, c.Theirs.Cost) || !slices.Equal(memory, c.Theirs.Memory) {
			t.Errorf("%s: %v s and %v MB (%v), recorded %v and %v", name, cost, memory, err, c.Theirs.Cost, c.Theirs.Memory)
		}
		a, err := c.Solve()
		if err != nil {
			t.Fatal(err)
		}
		if a.Cost >= c.Theirs.Cost || slices.Max(a.Memory) > c.Budget {
			t.Errorf("%s: %v s in %v MB: %s", name, a.Cost, a.Memory, a)
		}
	}
	c, _ := small(t, "vldb-infeasible")
	var infeasible *InfeasibleError
	if a, err := c.Solve(); !errors.As(err, &infeasible) {
		t.Errorf("%v, %v: want no plan", a, err)
	}
}

// TestSmallTables: costs from profiles are those tabulated.
func TestSmallTables(t *testing.T) {
	c, p := small(t, "3.0-small")
	got, err := CellOf(c.Arguments, p, 16, 4, 2, tpOnly, 2)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]any{c.cell.Names, c.cell.Stages, c.cell.Time, c.cell.Synced, c.cell.Vocabs}, []any{got.Names, got.Stages, got.Time, got.Synced, got.Vocabs}, cmp.Comparer(near)); d != "" {
		t.Error(d)
	}
}

// TestIndivisible: a cell whose price leaves samples out is refused, and a search
// does not take it.
func TestIndivisible(t *testing.T) {
	c, p := small(t, "3.0-indivisible")
	var refused *IndivisibleError
	if a, err := c.Solve(); !errors.As(err, &refused) || *refused != (IndivisibleError{12, 4, 2}) {
		t.Errorf("%v, %v: want the cell refused", a, err)
	}
	if want := "batch 12 in 4 micro-batches does not divide among 2 replicas: 4 samples would be left out of the price"; refused != nil && refused.Error() != want {
		t.Errorf("%q, want %q", refused, want)
	}
	f, err := Search(c.Arguments, p)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Refused) == 0 {
		t.Error("nothing was refused")
	}
	for _, stage := range f.Layers {
		for _, s := range stage {
			if dp := f.Cell.strategies[s].DP; f.Cell.Batch%(f.Cell.Chunks*dp) != 0 {
				t.Errorf("batch %d in %d on %d replicas", f.Cell.Batch, f.Cell.Chunks, dp)
			}
		}
	}
}

// TestSearchIsTheBestCell: the search with its bounds and left-out cells finds what
// solving every cell of the engine's finds.
func TestSearchIsTheBestCell(t *testing.T) {
	c, p := small(t, "3.0-small")
	for _, gb := range []int{1, 2, 3, 4, 24} {
		for _, schedule := range []Schedule{GPipe, PipeDreamFlush} {
			a := *c.Arguments
			a.Memory, a.Schedule = gb, schedule
			best := math.Inf(1)
			for _, chunks := range a.Batches.chunks(16) {
				for pp := 1; pp <= min(4, chunks); pp *= 2 {
					for _, mode := range []string{tpOnly, spOnly, tpWithSP} {
						for buffer := 1; buffer <= 4/pp; buffer *= 2 {
							if mode == spOnly && buffer < 4/pp {
								continue
							}
							x, err := CellOf(&a, p, 16, chunks, pp, mode, buffer)
							if err != nil {
								continue
							}
							if plan, err := x.Solve(); err == nil {
								best = min(best, plan.Cost)
							}
						}
					}
				}
			}
			f, err := Search(&a, p)
			switch {
			case err != nil && !math.IsInf(best, 1), err == nil && !near(f.Cost, best):
				t.Errorf("%d GB, %s: %v (%v), the best cell has %v", gb, schedule, f, err, best)
			case err == nil && slices.Max(f.Memory) > a.Budget():
				t.Errorf("%d GB: %v MB of %d", gb, f.Memory, a.Budget())
			case err != nil && !strings.Contains(err.Error(), "the closest needs"):
				t.Error(err)
			}
		}
	}
}

// TestUniform: without fine-grained search one strategy is everywhere, and mixing
// is never worse.
func TestUniform(t *testing.T) {
	c, p := small(t, "3.0-small")
	a := *c.Arguments
	mixed, err := Search(&a, p)
	if err != nil {
		t.Fatal(err)
	}
	a.FineGrained = false
	one, err := Search(&a, p)
	if err != nil {
		t.Fatal(err)
	}
	names := one.Strategies()
	if len(slices.Compact(slices.Clone(names))) != 1 || strings.TrimSuffix(names[0], "-c") != one.Cell.Vocabs[one.Vocab].Name {
		t.Errorf("%v and %s", names, one.Cell.Vocabs[one.Vocab].Name)
	}
	if mixed.Cost > one.Cost {
		t.Errorf("mixed %v s, uniform %v", mixed.Cost, one.Cost)
	}
}

func TestStrategyJSON(t *testing.T) {
	c, p := small(t, "3.0-small")
	f, err := Search(c.Arguments, p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.StrategyJSON(c.Arguments)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "strategy.json")
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
		t.Errorf("%s differs; if it should, run the test with -update:\n%s", path, d)
	}
}

// randomCell draws a problem of a few layers.
func randomCell(t *rapid.T) *Cell {
	n, stages := rapid.IntRange(1, 4).Draw(t, "strategies"), rapid.IntRange(1, 3).Draw(t, "stages")
	c := &Cell{Batch: 8, Chunks: rapid.IntRange(stages, 8).Draw(t, "chunks"), Names: make([]string, n), form: form(rapid.IntRange(0, 1).Draw(t, "form"))}
	for range n {
		time := rapid.IntRange(1, 30).Draw(t, "time")
		c.Time = append(c.Time, float64(time))
		c.Synced = append(c.Synced, float64(time+rapid.IntRange(0, 6).Draw(t, "sync")))
	}
	for range stages {
		s := Stage{Layers: rapid.IntRange(1, 4).Draw(t, "layers")}
		for range n {
			s.Memory = append(s.Memory, rapid.IntRange(1, 12).Draw(t, "memory"))
		}
		c.Stages = append(c.Stages, s)
	}
	for range rapid.IntRange(1, 2).Draw(t, "vocabs") {
		var v Vocab
		for range stages {
			v.Time = append(v.Time, float64(rapid.IntRange(0, 4).Draw(t, "vocab time")))
			v.Memory = append(v.Memory, rapid.IntRange(0, 4).Draw(t, "vocab memory"))
		}
		c.Vocabs = append(c.Vocabs, v)
	}
	c.Budget = rapid.IntRange(4, 50).Draw(t, "budget")
	return c
}

// ways lists all choices of strategies for a stage, but for order.
func ways(layers, strategies int) [][]int {
	if layers == 0 {
		return [][]int{nil}
	}
	var list [][]int
	for _, w := range ways(layers-1, strategies) {
		for s := range strategies {
			if len(w) == 0 || s >= w[len(w)-1] {
				list = append(list, append(slices.Clip(w), s))
			}
		}
	}
	return list
}

// bruteFront is the front by trying everything.
func bruteFront(c *Cell, stage, memory int) [][2]float64 {
	var points [][2]float64
	for _, w := range ways(c.Stages[stage].Layers, len(c.Time)) {
		var p [2]float64
		mb := 0
		for _, s := range w {
			p[0], p[1], mb = p[0]+c.Time[s], p[1]+c.Synced[s], mb+c.Stages[stage].Memory[s]
		}
		if mb <= memory {
			points = append(points, p)
		}
	}
	var kept [][2]float64
	slices.SortFunc(points, func(a, b [2]float64) int { return slices.Compare(a[:], b[:]) })
	for _, p := range points {
		if len(kept) == 0 || p[1] < kept[len(kept)-1][1] {
			kept = append(kept, p)
		}
	}
	return kept
}

func TestFrontIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := randomCell(t)
		var got [][2]float64
		for _, w := range front(c.options(0), c.Stages[0].Layers, c.Budget) {
			got = append(got, [2]float64{w.time, w.synced})
			layers, mb := 0, 0
			options := unbeaten(c.options(0))
			for k, n := range w.counts { // the last options may be missing
				layers, mb = layers+n, mb+n*options[k].memory
			}
			if layers != c.Stages[0].Layers || mb != w.memory || mb > c.Budget {
				t.Fatalf("%v: %d layers, %d MB", w, layers, mb)
			}
		}
		if d := cmp.Diff(bruteFront(c, 0, c.Budget), got); d != "" {
			t.Fatal(d)
		}
	})
}

// brute is the least cost over all combinations of the stages' fronts.
func brute(c *Cell) float64 {
	best := math.Inf(1)
	for _, v := range c.Vocabs {
		sums := []pipeline{{}}
		for i := len(c.Stages) - 1; i >= 0; i-- {
			var next []pipeline
			for _, p := range sums {
				for _, w := range bruteFront(c, i, c.Budget-v.Memory[i]) {
					next = append(next, p.before(w[0]+v.Time[i], w[1]))
				}
			}
			sums = next
		}
		for _, p := range sums {
			best = min(best, c.form.score(p, len(c.Stages), c.Chunks))
		}
	}
	return best
}

func TestSolveIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := randomCell(t)
		want := brute(c)
		p, err := c.Solve()
		if err != nil {
			if !math.IsInf(want, 1) {
				t.Fatalf("%v, the best is %v", err, want)
			}
			return
		}
		if !near(p.Cost, want) || slices.Max(p.Memory) > c.Budget {
			t.Fatalf("%v s in %v MB of %d, the best is %v", p.Cost, p.Memory, c.Budget, want)
		}
		if b := c.bound(p.Vocab); b > p.Cost {
			t.Fatalf("bound %v above the cost %v", b, p.Cost)
		}
		c.Budget++
		if more, err := c.Solve(); err != nil || (len(c.Stages) == 1 && more.Cost > p.Cost*(1+1e-12)) { // of several see the package's comment
			t.Fatalf("%v s with a MB more (%v), %v without", more, err, p.Cost)
		}
	})
}

// TestScore: the score of version 3.0 as its own code writes it.
func TestScore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Float64Range(0.1, 9), 1, 8).Draw(t, "C")
		synced := rapid.SliceOfN(rapid.Float64Range(0.1, 30), len(times), len(times)).Draw(t, "S")
		m := rapid.IntRange(len(times), 64).Draw(t, "m")
		var p pipeline
		for i := len(times) - 1; i >= 0; i-- {
			p = p.before(times[i], synced[i])
		}
		sum, tail, n := 0.0, 0.0, len(times)
		for i, c := range times {
			sum += c
			tail = max(tail, synced[i]-sum)
		}
		rest, k := sum-times[0], float64(min(n-1, m-1))
		three := max(sum+times[n-1]*float64(m-1),
			max(k*times[0]/3, rest/3)+max(k*times[0]*2/3, rest*2/3)+times[0]*float64(max(0, m+1-n))) + tail
		if got := ends.score(p, n, m); !near(got, three) {
			t.Fatalf("3.0: %v, want %v", got, three)
		}
		two := slices.Max(times)*float64(m-1+n) + tail
		if got := slowest.score(p, n, m); !near(got, two) {
			t.Fatalf("2.0: %v, want %v", got, two)
		}
	})
}

// TestEarlyIsExact: the first version's program finds the best of all plans.
func TestEarlyIsExact(t *testing.T) {
	c, _ := small(t, "vldb-small")
	e := *c.early
	rapid.Check(t, func(t *rapid.T) {
		e.budget = rapid.IntRange(1100, 2200).Draw(t, "budget")
		e.time = [][]float64{nil, nil}
		for k := range e.time {
			e.time[k] = rapid.SliceOfN(rapid.Float64Range(0.001, 0.02), len(e.strategies), len(e.strategies)).Draw(t, "time")
		}
		best := math.Inf(1)
		list := e.of(1)
		for n := range len(list) * len(list) * len(list) * len(list) {
			var stage []int
			for range 4 {
				stage, n = append(stage, list[n%len(list)]), n/len(list)
			}
			if cost, memory := e.cost([][]int{stage}); memory[0] <= e.budget {
				best = min(best, cost)
			}
		}
		got := math.Inf(1)
		if stages := e.stages(1); stages != nil {
			got, _ = e.cost(stages)
		}
		if !near(got, best) && got != best {
			t.Fatalf("%v s, the best is %v", got, best)
		}
	})
}

func TestFit(t *testing.T) {
	x := []float64{4096, 8192, 12288, 16384, 20480}
	var y []float64
	for _, v := range x {
		y = append(y, 3e-8*v*v+2e-3*v+5)
	}
	for i, want := range []float64{5, 2e-3, 3e-8} {
		if got := fit(x, y, 2)[i]; math.Abs(got-want) > 1e-8*want {
			t.Errorf("coefficient %d: %v, want %v", i, got, want)
		}
	}
	if got := fitLine([]float64{1, 2, 3}, []float64{1, 3, 2}); !near(got.Slope, 0.5) || !near(got.Offset, 1) {
		t.Errorf("%v, want 0.5 and 1", got)
	}
}

// TestArguments reads the engine's own form.
func TestArguments(t *testing.T) {
	var a Arguments
	err := json.Unmarshal([]byte(`{"model_info": {"model_size": "m", "hidden_size": 64, "num_layers": 8, "seq_length": 128},
		"parallelism_info": {"pipeline_type": "gpipe", "default_dp_type": "ddp", "mixed_precision": "fp32", "async_grad_reduce": false},
		"common_train_info": {"sequence_parallel": 1}, "hardware_info": {"num_nodes": 2, "num_gpus_per_node": 4, "memory_constraint": 24},
		"batch_size_info": {"min_bsz": 8, "max_bsz": 24, "bsz_scale": 8}, "search_space_info": {"disable_sp": 1, "max_tp_deg": 4}}`), &a)
	if err != nil {
		t.Fatal(err)
	}
	if a.World() != 8 || a.Budget() != 24576-4915 || a.Schedule != GPipe || a.AsyncReduce || a.mixed() || !slices.Equal(a.Batches.sizes(), []int{8, 16, 24}) {
		t.Errorf("%+v", a)
	}
	// PP 1, 2, 4 and 8 with TP to 4: replicas of two kinds where there are several; all twice for checkpointing.
	if got := len(a.Strategies()); got != 2*(2+2+2+2+2+1+2+1+1) {
		t.Errorf("%d strategies", got)
	}
	for _, text := range []string{`{}`, `{"model": 3}`, `{"layers": [2, 3]}`, `{"layers": 2, "hidden": 8, "seq": 8, "num_gpus_per_node": 3}`,
		`{"layers": 2, "hidden": 8, "seq": 8, "pipeline_type": "zigzag"}`, `{"layers": 2, "hidden": 8, "seq": 8, "time_mode": "hybrid"}`,
		`{"layers": 2, "hidden": 8, "seq": 8, "search_space": {"disable_sp": 7}}`} {
		if err := json.Unmarshal([]byte(text), &a); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

// TestDamage: files with a value taken out or changed give an error or are read,
// and never end the program.
func TestDamage(t *testing.T) {
	for _, name := range []string{"vldb-small", "2.0-small", "3.0-small"} {
		files := fstest.MapFS{}
		dir := os.DirFS(filepath.Join("testdata", "cases", name))
		for _, f := range []string{"args.json", "tables.json", "result.json"} {
			data, err := fs.ReadFile(dir, f)
			if err != nil {
				t.Fatal(err)
			}
			var all map[string]any
			if err := json.Unmarshal(data, &all); err != nil {
				t.Fatal(err)
			}
			for key := range all {
				for _, value := range []any{nil, 0, -1, 1 << 40, "x", []any{}, []any{[]any{}}, []int{-3}, []string{"1-1-4"}, map[string]any{}} {
					damaged := map[string]any{}
					for k, v := range all {
						damaged[k] = v
					}
					damaged[key] = value
					text, _ := json.Marshal(damaged)
					for _, other := range []string{"args.json", "tables.json", "result.json"} {
						whole, _ := fs.ReadFile(dir, other)
						files[other] = &fstest.MapFile{Data: whole}
					}
					files[f] = &fstest.MapFile{Data: text}
					c, err := ReadCase(files, name)
					if err != nil {
						continue
					}
					_, _, _ = c.PriceTheirs()
					_, _ = c.Solve()
				}
			}
		}
	}
}
