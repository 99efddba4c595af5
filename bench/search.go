package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/parallel/planner"
)

// SearchOptions say what the suite search searches. Empty lists take all there
// is.
type SearchOptions struct {
	Models   []string // as [SearchModels] has them
	Devices  []int    // as [SearchDevices] has them
	Memory   []int    // of a device, in GiB; default 8, 12, 16, 20, 40 and 80
	Methods  []string // as [SearchMethods] has them
	JSON     bool     // one JSON object a line instead of tables
	Markdown bool     // the tables as docs/planner-table.md has them
	Log      io.Writer
}

// SearchDevices are the numbers of devices of the suite search: those of the
// clusters a100-8, a100-16 and a100-64.
func SearchDevices() []int { return []int{8, 16, 64} }

// searchMemory are the budgets, in GiB.
var searchMemory = []int{8, 12, 16, 20, 40, 80}

// Search prints the throughput that the planner predicts for models of equal and
// of unequal layers, on clusters of A100 whose devices have more and more memory:
// of the best plan in the whole space, and of the best ones within less of it.
func Search(ctx context.Context, o SearchOptions, w io.Writer) error {
	s, err := newSearching(o)
	if err != nil {
		return err
	}
	defer s.backend.Close()
	report := searchReport(w, o)
	var all []Searched
	for _, m := range s.models {
		for _, devices := range s.Devices {
			start := time.Now()
			found, err := s.table(ctx, m, devices)
			if err != nil {
				return err
			}
			all = append(all, found...)
			fmt.Fprintf(s.Log, "%s on %d devices: %d searches, %.1f s\n", m.Label, devices, len(found), time.Since(start).Seconds())
			if err := report.table(m, found); err != nil {
				return err
			}
		}
	}
	return report.summary(summarizeSearches(s.methods, all))
}

// searching is the suite under way.
type searching struct {
	SearchOptions
	models  []searchModel
	methods []searchMethod
	backend *cpu.Backend
	tables  searchTables
}

func newSearching(o SearchOptions) (*searching, error) {
	s := &searching{SearchOptions: o}
	if s.Log == nil {
		s.Log = io.Discard
	}
	var err error
	if s.models, err = named("model", o.Models, searchModels(), func(m searchModel) string { return m.Label }); err != nil {
		return nil, err
	}
	if s.methods, err = named("method", o.Methods, searchMethods, func(m searchMethod) string { return m.Label }); err != nil {
		return nil, err
	}
	var devices []string
	for _, n := range o.Devices {
		devices = append(devices, strconv.Itoa(n))
	}
	if s.Devices, err = named("number of devices", devices, SearchDevices(), strconv.Itoa); err != nil {
		return nil, err
	}
	if len(s.Memory) == 0 {
		s.Memory = searchMemory
	}
	if slices.Min(s.Memory) < 1 || slices.Max(s.Memory) > 1<<20 {
		return nil, fmt.Errorf("bench: memory %v: give GiB of a device, 1 to %d", s.Memory, 1<<20)
	}
	s.Memory = slices.Compact(slices.Sorted(slices.Values(s.Memory)))
	if s.backend, err = cpu.New(1); err != nil {
		return nil, err
	}
	s.tables = searchTables{backend: s.backend}
	return s, nil
}

// named returns those of a list that are named, in the list's order; all where
// none is.
func named[T any](what string, names []string, list []T, name func(T) string) ([]T, error) {
	var known []string
	for _, x := range list {
		known = append(known, name(x))
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("bench: no %s %q: choose of %s", what, n, strings.Join(known, ", "))
		}
	}
	if len(names) == 0 {
		return list, nil
	}
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return !slices.Contains(names, name(x)) }), nil
}

// table searches for one model on one cluster: by all methods, within all
// budgets.
func (s *searching) table(ctx context.Context, m searchModel, devices int) ([]Searched, error) {
	machine, err := cluster.Preset(fmt.Sprintf("a100-%d", devices))
	if err != nil {
		return nil, err
	}
	source, err := s.tables.source(&m)
	if err != nil {
		return nil, err
	}
	process, err := source.process()
	if err != nil {
		return nil, err
	}
	var all []Searched
	for _, method := range s.methods {
		options := &planner.Options{
			Model: source.model, Source: source, Machine: cost.Machine{Cluster: machine, Precision: searchPrecision},
			Batches: m.batches(devices), Micros: searchMicros, Schedules: searchSchedules, Process: process,
		}
		options.Space.Devices = devices
		method.restrict(options)
		options.Memory = int64(slices.Max(s.Memory)) << 30
		search, err := planner.NewSearch(options)
		if err != nil {
			return nil, err
		}
		for _, memory := range slices.Backward(s.Memory) {
			start := time.Now()
			choice, err := search.Choose(ctx, int64(memory)<<30)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err = feasible(err); err != nil {
				return nil, fmt.Errorf("bench: %s on %d devices of %d GiB, %s: %w", m.Label, devices, memory, method.Label, err)
			}
			found := searchedOf(&m, devices, memory, method.Label, choice)
			found.Search = time.Since(start).Seconds()
			all = append(all, found)
		}
	}
	slices.SortStableFunc(all, func(a, b Searched) int { return cmp.Compare(a.MemoryGiB, b.MemoryGiB) })
	return all, nil
}

// feasible leaves out errors that say that there is no plan.
func feasible(err error) error {
	var infeasible *planner.InfeasibleError
	var none *planner.NoStrategyError
	var process *planner.ProcessError
	if errors.As(err, &infeasible) || errors.As(err, &none) || errors.As(err, &process) {
		return nil
	}
	return err
}

// searchReporter prints what is found.
type searchReporter interface {
	table(m searchModel, found []Searched) error
	summary(all []SearchSummary) error
}

// searchReport returns what prints the way that is asked for.
func searchReport(w io.Writer, o SearchOptions) searchReporter {
	if o.JSON {
		return searchLines{json.NewEncoder(w)}
	}
	return &searchTable{w: w, markdown: o.Markdown}
}

// searchLines prints JSON.
type searchLines struct{ *json.Encoder }

func (l searchLines) table(_ searchModel, found []Searched) error {
	for _, f := range found {
		if err := l.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

func (l searchLines) summary(all []SearchSummary) error {
	for _, s := range all {
		if err := l.Encode(s); err != nil {
			return err
		}
	}
	return nil
}
