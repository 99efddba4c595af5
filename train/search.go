package train

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/internal/atomicfile"
	"github.com/galvani-ml/galvani/internal/inputfile"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/search"
	"github.com/galvani-ml/galvani/train/planning"
	"github.com/galvani-ml/galvani/train/profile"
	"github.com/galvani-ml/galvani/train/program"
)

// Here names this machine, measured, among clusters.
const Here = "here"

// strategyNames are the strategies that a search may use, as users name them.
var strategyNames = []struct {
	name     string
	paradigm search.Paradigm
}{
	{"dp", search.DP}, {"zero1", search.ZeRO1}, {"zero2", search.ZeRO2}, {"zero3", search.SDP},
	{"tp", search.TP}, {"sequence_parallel", search.TPSP}, {"sp", search.SP}, {"cp", search.CP},
}

// StrategyNames lists the strategies that a search may use, pp and ckpt besides.
func StrategyNames() string {
	var names []string
	for _, s := range strategyNames {
		names = append(names, s.name)
	}
	return strings.Join(append(names, "pp", "ckpt"), ", ")
}

// usualStrategies are those that a search uses unless others are named:
// Galvatron's, and the stages of ZeRO between.
var usualStrategies = []string{"dp", "zero1", "zero2", "zero3", "tp", "pp", "ckpt"}

// allow takes strategies into a request.
func allow(r *planning.Request, names []string) error {
	if len(names) == 0 {
		names = usualStrategies
	}
	pipeline := false
	for _, name := range names {
		i := slices.IndexFunc(strategyNames, func(s struct {
			name     string
			paradigm search.Paradigm
		}) bool {
			return s.name == name
		})
		switch {
		case i >= 0:
			r.Paradigms = append(r.Paradigms, strategyNames[i].paradigm)
		case name == "ckpt":
			r.Checkpoint = true
		case name == "pp":
			pipeline = true
		default:
			return fmt.Errorf("--strategies %s: must be of %s", name, StrategyNames())
		}
	}
	if !pipeline {
		r.Stages = []int{1}
	}
	return nil
}

// request makes a request for a plan of the configuration.
func (s *setup) request(strategies []string, batches ...int) (planning.Request, error) {
	c := s.config
	r := planning.Request{
		Name:    cmp.Or(c.Init, c.Model),
		Program: program.Options{Model: s.model, Seq: c.Seq, Dropout: c.Dropout, Precision: c.Precision, Disable: c.DisablePass, Enable: c.EnablePass},
		Workers: c.Workers, Batches: batches, Memory: int64(c.Memory), Threads: planning.Threads(c.Workers),
	}
	if c.MicroBatch > 0 {
		r.RowsAtOnce = c.MicroBatch
	}
	return r, allow(&r, strategies)
}

// describeCluster finds the machines that a plan is for: this one, measured, a
// preset, or a file's.
func (s *setup) describeCluster(ctx context.Context, r *planning.Request, fresh bool, others ...parallel.Strategy) (err error) {
	name := cmp.Or(s.config.Cluster, Here)
	if name == Here {
		return s.measureHere(ctx, r, fresh, others)
	}
	if r.Cluster, err = readCluster(name); err != nil {
		return fmt.Errorf("--cluster: %w", err)
	}
	return nil
}

// readCluster reads a preset or a file.
func readCluster(name string) (*cluster.Cluster, error) {
	if slices.Contains(cluster.Presets(), name) {
		return cluster.Preset(name)
	}
	text, err := inputfile.Read(name, maxFileBytes)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%q is neither %s, nor a preset (%s), nor a file", name, Here, strings.Join(cluster.Presets(), ", "))
	}
	if err != nil {
		return nil, err
	}
	c, err := cluster.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// measureHere measures this machine and the layers of the model, or takes what
// was measured before.
func (s *setup) measureHere(ctx context.Context, r *planning.Request, fresh bool, others []parallel.Strategy) error {
	hardware, err := profile.Hardware(ctx, profile.Options{Workers: r.Workers, NATS: s.config.NATS, Fresh: fresh, Version: s.version, Say: s.sayOnce("profile", "measuring this machine, once")})
	if err != nil {
		return err
	}
	r.Cluster = hardware.Cluster
	o, err := r.Layers(others...)
	if err != nil {
		return err
	}
	o.Fresh, o.Say = fresh, s.sayOnce("profile", "measuring the layers of the model, once")
	var layers string
	r.Times, layers, err = profile.MeasureLayers(ctx, o)
	s.profiles = []string{hardware.Path, layers}
	return err
}

// sayOnce says one thing the first time that something is said.
func (s *setup) sayOnce(name, text string) func(string, string) {
	said := false
	return func(string, string) {
		if !said {
			s.say(name, "%s", text)
			said = true
		}
	}
}

// defaultWorkers is how many workers there are where neither --workers nor a
// plan says so.
const defaultWorkers = 2

// autoPlan searches for the fastest plan for the workers.
func (s *setup) autoPlan(ctx context.Context) error {
	r, err := s.request(nil, s.config.Batch)
	if err != nil {
		return err
	}
	if err := s.describeCluster(ctx, &r, false); err != nil {
		return err
	}
	p, err := planning.Open(r)
	if err != nil {
		return fmt.Errorf("--plan auto: %w", err)
	}
	defer p.Close()
	found, err := p.Choose(ctx)
	if err != nil {
		return fmt.Errorf("--plan auto: %w", err)
	}
	s.plan, s.found = found.Plan, found
	s.reasons, err = p.Reasons(found)
	return err
}

// SearchOptions say what a plan is searched for.
type SearchOptions struct {
	PlanOptions
	Batches    []int    `placeholder:"N,N" help:"Try these batches, instead of --batch, and take the one of most sequences a second."`
	Strategies []string `placeholder:"NAME,NAME" help:"What the plan may use, of ${strategies}. Default: dp, zero1, zero2, zero3, tp, pp, ckpt."`
	Uniform    bool     `help:"Give all layers one strategy."`
	Partition  string   `default:"exact" enum:"exact,bmw,even" help:"How layers are divided among pipeline stages: ${enum}. exact tries all ways, bmw is Galvatron-BMW's search."`
	Fresh      bool     `help:"Measure this machine and the model's layers anew."`
	Out        string   `placeholder:"FILE" help:"Write the plan as JSON, for --plan FILE."`
	SVG        string   `name:"svg" placeholder:"FILE" help:"Draw the stages: time and memory of each."`
}

// SearchPlan finds the fastest plan for a model on a cluster and says why it was
// chosen.
func SearchPlan(ctx context.Context, o SearchOptions, out Output) error {
	s, r, err := o.prepare(ctx, out)
	if err != nil {
		return err
	}
	p, err := planning.Open(r)
	if err != nil {
		return err
	}
	defer p.Close()
	found, err := p.Choose(ctx)
	if err != nil {
		return err
	}
	report, err := p.Report(found.Evaluation)
	if err != nil {
		return err
	}
	report.WithOthers(found.Choice)
	if err := errors.Join(s.writePlan(found, o.Out), writeFile(found.WriteSVG, o.SVG)); err != nil {
		return err
	}
	if out.JSON {
		return json.NewEncoder(out.Result).Encode(report)
	}
	fmt.Fprintf(out.Result, "plan      %s\ncluster   %s\n", found.Plan, r.Cluster.Name)
	report.Write(out.Result)
	fmt.Fprintf(out.Result, "\ncompiled  a worker needs %v at most, of %v\n", Size(found.Largest()), Size(p.Options.Memory))
	return nil
}

// open prepares the search.
func (o SearchOptions) prepare(ctx context.Context, out Output) (*setup, planning.Request, error) {
	s, err := o.PlanOptions.open(ctx, planAuto, out)
	if err != nil {
		return nil, planning.Request{}, err
	}
	batches := o.Batches
	if len(batches) == 0 {
		batches = []int{o.Batch}
	}
	s.config.Workers = cmp.Or(s.config.Workers, defaultWorkers)
	r, err := s.request(o.Strategies, batches...)
	if err != nil {
		return nil, r, err
	}
	r.Uniform, r.Mode = o.Uniform, search.Mode(o.Partition)
	return s, r, s.describeCluster(ctx, &r, o.Fresh)
}

// writePlan writes the plan found, if it is to be kept.
func (s *setup) writePlan(found *planning.Found, path string) error {
	plan := *found.Plan
	plan.Provenance = parallel.Provenance{Model: cmp.Or(s.config.Init, s.config.Model), Profile: s.config.Cluster, Planner: "galvani " + s.version}
	text, err := json.MarshalIndent(&plan, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	}, path)
}

// writeFile writes a file whole or not at all, if it has a name.
func writeFile(fill func(io.Writer) error, path string) error {
	if path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return atomicfile.WriteStream(path, fill)
}

// ProfileLayers measures the layers of a model on this machine, for as many
// workers as o says. path names a file for the result, empty for none.
func ProfileLayers(ctx context.Context, o PlanOptions, fresh bool, path string, out Output) error {
	s, err := o.open(ctx, planAuto, out)
	if err != nil {
		return err
	}
	r, err := s.request(nil, o.Batch)
	if err != nil {
		return err
	}
	layers, err := r.Layers()
	if err != nil {
		return err
	}
	layers.Fresh, layers.Say = fresh, func(name, text string) { s.say(name, "%s", text) }
	times, kept, err := profile.MeasureLayers(ctx, layers)
	if err != nil {
		return err
	}
	if path != "" {
		if err := times.Save(path); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	if out.JSON {
		return json.NewEncoder(out.Result).Encode(times)
	}
	times.Write(out.Result)
	_, err = fmt.Fprintf(out.Result, "kept       %s\n", kept)
	return err
}
