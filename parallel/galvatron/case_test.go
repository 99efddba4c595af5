package galvatron

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/galvani-ml/galvani/internal/shared"
)

// cases lists the recorded cases beside the checkout.
func cases(t testing.TB) (list []*Case, profiles string) {
	t.Helper()
	dir := shared.Path(t, "cases", "galvatron")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, "g1-") && !strings.HasPrefix(name, "g2-") && !strings.HasPrefix(name, "g3-") {
			continue
		}
		c, err := ReadCase(os.DirFS(filepath.Join(dir, name)), name)
		if err != nil {
			t.Error(err)
			continue
		}
		list = append(list, c)
	}
	return list, filepath.Join(dir, "_profiles")
}

// near says that two values agree to 1e-9.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }

// TestTheirCosts: their plans cost here what their engine reported.
func TestTheirCosts(t *testing.T) {
	list, _ := cases(t)
	for _, c := range list {
		if c.plan == nil {
			continue
		}
		cost, memory, err := c.PriceTheirs()
		if err != nil {
			t.Error(err)
			continue
		}
		if !near(cost, c.Theirs.Cost) {
			t.Errorf("%s: %v s, reported %v", c.Name, cost, c.Theirs.Cost)
		}
		reserve := 0 // counted as used by 2.0 and 3.0
		switch c.Version {
		case V2:
			reserve = 24*1024 - c.Budget
		case V3:
			reserve = c.Arguments.Memory*1024 - c.Budget
		}
		for i := range memory {
			memory[i] += reserve
		}
		if !slices.Equal(memory, c.Theirs.Memory) {
			t.Errorf("%s: %v MB, reported %v", c.Name, memory, c.Theirs.Memory)
		}
	}
}

// TestCasesFromTables: plans found cost at most theirs and fit.
func TestCasesFromTables(t *testing.T) {
	list, _ := cases(t)
	for _, c := range list {
		start := time.Now()
		a, err := c.Solve()
		took := time.Since(start)
		var indivisible *IndivisibleError
		var infeasible *InfeasibleError
		switch {
		case strings.HasPrefix(c.Name, "g3-14"):
			if !errors.As(err, &indivisible) {
				t.Errorf("%s: %v, %v: want the cell refused", c.Name, a, err)
			}
		case c.Theirs == nil:
			if !errors.As(err, &infeasible) {
				t.Errorf("%s: %v, %v: want no plan", c.Name, a, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.Name, err)
		case a.Cost > c.Theirs.Cost*(1+1e-12) || slices.Max(a.Memory) > c.Budget:
			t.Errorf("%s: %v s and %v MB of %d: theirs %v s", c.Name, a.Cost, a.Memory, c.Budget, c.Theirs.Cost)
		default:
			t.Logf("%-45s %.9f of %.9f: %.9f in %v: %v %s", c.Name, a.Cost, c.Theirs.Cost, a.Cost/c.Theirs.Cost, took, a.Memory, a)
		}
	}
}

// TestTablesFromProfiles: costs computed from profiles are those tabulated, and
// their plans cost the same to 1e-9. Single times agree to 1e-8 alone: the engine
// fits lines by an iteration that it stops early, here they are exact.
func TestTablesFromProfiles(t *testing.T) {
	list, profiles := cases(t)
	for _, c := range list {
		if c.Version != V3 {
			continue
		}
		p, err := ReadProfile(os.DirFS(filepath.Join(profiles, c.Profile)), c.Arguments)
		if err != nil {
			t.Error(err)
			continue
		}
		want := c.cell
		got, err := CellOf(c.Arguments, p, want.Batch, want.Chunks, len(want.Stages), want.Mode, want.Buffer)
		if err != nil {
			t.Error(err)
			continue
		}
		if !slices.Equal(got.Names, want.Names) {
			t.Errorf("%s: strategies %v, tabulated %v", c.Name, got.Names, want.Names)
			continue
		}
		for i, name := range want.Names {
			if d := max(math.Abs(got.Time[i]/want.Time[i]-1), math.Abs(got.Synced[i]/want.Synced[i]-1)); d > 1e-8 {
				t.Errorf("%s: %s: %v and %v s, tabulated %v and %v: off by %.1e", c.Name, name, got.Time[i], got.Synced[i], want.Time[i], want.Synced[i], d)
			}
			for k := range want.Stages {
				if got.Stages[k].Memory[i] != want.Stages[k].Memory[i] {
					t.Errorf("%s: %s: %d MB on stage %d, tabulated %d", c.Name, name, got.Stages[k].Memory[i], k, want.Stages[k].Memory[i])
				}
			}
		}
		for i, w := range want.Vocabs {
			g := got.Vocabs[i]
			if g.Name != w.Name || !slices.Equal(g.Memory, w.Memory) {
				t.Errorf("%s: %s of %v MB, tabulated %s of %v", c.Name, g.Name, g.Memory, w.Name, w.Memory)
			}
			for k := range w.Time {
				if math.Abs(g.Time[k]-w.Time[k]) > 1e-8*w.Time[k] {
					t.Errorf("%s: %s: %v s on stage %d, tabulated %v", c.Name, w.Name, g.Time[k], k, w.Time[k])
				}
			}
		}
		c.cell = got
		if cost, _, err := c.PriceTheirs(); err != nil || !near(cost, c.Theirs.Cost) {
			t.Errorf("%s: their plan costs %v s (%v), reported %v", c.Name, cost, err, c.Theirs.Cost)
		}
	}
}

// TestCasesFromProfiles: searched from profiles, plans cost at most theirs a sample.
func TestCasesFromProfiles(t *testing.T) {
	list, profiles := cases(t)
	for _, c := range list {
		if c.Version != V3 {
			continue
		}
		p, err := ReadProfile(os.DirFS(filepath.Join(profiles, c.Profile)), c.Arguments)
		if err != nil {
			t.Error(err)
			continue
		}
		start := time.Now()
		f, err := Search(c.Arguments, p)
		took := time.Since(start)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		a := f.Answer()
		ratio := a.PerSample() / c.Theirs.PerSample()
		t.Logf("%s: %.12f in %v, cells %d, solved %d, refused %d: B %d m %d %v %s vocab %s", c.Name, ratio, took, f.Cells, f.Solved, len(f.Refused), a.Batch, a.Chunks, a.Memory, a, a.Vocab)
		if strings.HasPrefix(c.Name, "g3-14") {
			if len(f.Refused) == 0 || a.Batch%(a.Chunks*f.Cell.strategies[f.Layers[0][0]].DP) != 0 {
				t.Errorf("%s: took an indivisible cell", c.Name)
			}
			continue
		}
		if ratio > 1+1e-9 || slices.Max(a.Memory) > c.Budget {
			t.Errorf("%s: %v s, theirs %v; %v MB of %d", c.Name, a.Cost, c.Theirs.Cost, a.Memory, c.Budget)
		}
	}
}
