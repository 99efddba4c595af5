package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/internal/atomicfile"
	"github.com/galvani-ml/galvani/parallel/galvatron"
)

// PlanOptions say what the suite plan searches.
type PlanOptions struct {
	Cases    string // directory with a folder a case
	Profiles string // directory with a folder a set of profiles; default _profiles in Cases
	Write    string // directory for the plans found from profiles, as Galvatron reads them; empty for none
	JSON     bool   // one JSON object a line instead of a table
}

// Statuses of a case in the suite plan.
const (
	planCheaper    = "cheaper"
	planEqual      = "equal" // to 1e-9
	planDearer     = "dearer"
	planFound      = "found"      // where they found nothing
	planInfeasible = "infeasible" // here and there
	planLost       = "lost"       // they found a plan, we did not
	planRefused    = "refused"    // their plan is of a cell that does not divide
	planSkipped    = "skipped"    // the case cannot be read or lacks its profiles
)

// Plan searches recorded problems of Galvatron's three engines by its own
// formulas and prints what our plans cost beside theirs. Problems of version 3.0 are
// searched twice: the one cell that their tables hold, and all cells from
// profiles.
func Plan(ctx context.Context, o PlanOptions, w io.Writer) error {
	entries, err := os.ReadDir(o.Cases)
	if err != nil {
		return fmt.Errorf("bench: cases: %w", err)
	}
	o.Profiles = cmp.Or(o.Profiles, filepath.Join(o.Cases, "_profiles"))
	report, found := planReport(w, o.JSON), false
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		dir := filepath.Join(o.Cases, e.Name())
		if _, err := os.Stat(filepath.Join(dir, "args.json")); err != nil {
			continue
		}
		found = true
		results, err := planCase(o, dir, e.Name())
		if err != nil {
			return err
		}
		for _, r := range results {
			if err := report(r); err != nil {
				return err
			}
		}
	}
	if !found {
		return fmt.Errorf("bench: cases: no folder in %s holds an args.json", o.Cases)
	}
	return nil
}

// planCase searches one case.
func planCase(o PlanOptions, dir, name string) ([]Result, error) {
	c, err := galvatron.ReadCase(os.DirFS(dir), name)
	if err != nil {
		return []Result{planResult(&Planning{Case: name, Status: planSkipped, Note: err.Error()})}, nil
	}
	var results []Result
	if c.Tabulated() {
		start := time.Now()
		ours, err := c.Solve()
		results = append(results, compared(c, "tables", ours, err, time.Since(start)))
	}
	if c.Arguments == nil {
		return results, nil
	}
	start := time.Now()
	found, err := planProfiles(c, o.Profiles)
	took := time.Since(start)
	var ours *galvatron.Answer
	if err == nil {
		ours = found.Answer()
	}
	results = append(results, compared(c, "profiles", ours, err, took))
	if err != nil || o.Write == "" {
		return results, nil
	}
	text, err := found.StrategyJSON(c.Arguments)
	if err == nil {
		err = atomicfile.WriteStream(filepath.Join(o.Write, "galvatron_config_"+name+".json"), func(w io.Writer) error {
			_, err := w.Write(append(text, '\n'))
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("bench: writing plans: %w", err)
	}
	return results, nil
}

// planProfiles searches from the profiles that a case names, or from the first
// that have what it needs.
func planProfiles(c *galvatron.Case, dir string) (*galvatron.Found, error) {
	names := []string{c.Profile}
	if c.Profile == "" {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		names = nil
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	err := fmt.Errorf("no profiles in %s: %w", dir, fs.ErrNotExist)
	for _, name := range names {
		p, e := galvatron.ReadProfile(os.DirFS(filepath.Join(dir, name)), c.Arguments)
		if e == nil {
			return galvatron.Search(c.Arguments, p)
		}
		err = e
	}
	return nil, err
}

// compared is the result of a search beside the engine's answer.
func compared(c *galvatron.Case, from string, ours *galvatron.Answer, err error, took time.Duration) Result {
	p := &Planning{Case: c.Name, From: from, BudgetMB: c.Budget, Search: took.Seconds()}
	if c.Theirs != nil {
		p.TheirCost, p.TheirBatch = c.Theirs.Cost, c.Theirs.Batch
	}
	if ours != nil {
		p.OurCost, p.Batch, p.Micro, p.Stages = ours.Cost, ours.Batch, ours.Chunks, len(ours.Stages)
		p.MemoryMB, p.Layers, p.Vocab = slices.Max(ours.Memory), ours.String(), ours.Vocab
	}
	var infeasible *galvatron.InfeasibleError
	var indivisible *galvatron.IndivisibleError
	refused := c.Refused()
	switch {
	case errors.As(err, &indivisible), refused != nil:
		p.Status, p.Note = planRefused, cmp.Or(refused, err).Error()
	case errors.As(err, &infeasible) && c.Theirs == nil:
		p.Status = planInfeasible
	case errors.As(err, &infeasible):
		p.Status, p.Note = planLost, err.Error()
	case err != nil:
		p.Status, p.Note = planSkipped, err.Error()
	case c.Theirs == nil:
		p.Status = planFound
	}
	if ours != nil && c.Theirs != nil && refused == nil {
		p.Ratio = ours.PerSample() / c.Theirs.PerSample()
		if p.Status == "" {
			p.Status = planStatus(p.Ratio)
		}
	}
	return planResult(p)
}

// planStatus tells what a ratio of costs means.
func planStatus(ratio float64) string {
	switch {
	case ratio > 1+1e-9:
		return planDearer
	case ratio < 1-1e-9:
		return planCheaper
	}
	return planEqual
}

func planResult(p *Planning) Result {
	return Result{Suite: "plan", Name: p.Case, Value: p.OurCost, Unit: "s", Planning: p}
}
