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
	"strings"

	"github.com/galvani-ml/galvani/internal/atomicfile"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/search"
	"github.com/galvani-ml/galvani/train/launch"
	"github.com/galvani-ml/galvani/train/planning"
	"github.com/galvani-ml/galvani/train/program"
)

// request makes a request for a plan of the configuration.
func (s *setup) request(strategies []string, batches ...int) (planning.Request, error) {
	c := s.config
	r := planning.Request{
		Name:    cmp.Or(c.Init, c.Model),
		Program: program.Options{Model: s.model, Seq: c.Seq, Dropout: c.Dropout, Precision: c.Precision, Disable: c.DisablePass, Enable: c.EnablePass},
		Workers: c.Workers, Batches: batches, Memory: int64(c.Memory), Threads: launch.Threads(c.Workers), RowsAtOnce: c.MicroBatch,
	}
	return r, allow(&r, strategies)
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
	fmt.Fprintf(out.Progress, "searched  %d cells in %v, after %v for what their layers do\n", found.Cells, planning.Duration(found.Searching.Seconds()), planning.Duration(found.Pricing.Seconds()))
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

// prepare finds the model and the machines.
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

// signed returns the plan with what it was made for, and from what.
func (s *setup) signed(p *parallel.Plan) *parallel.Plan {
	plan := *p
	plan.Provenance = parallel.Provenance{
		Model: cmp.Or(s.config.Init, s.config.Model), Profile: cmp.Or(strings.Join(s.profiles, ", "), s.config.Cluster), Planner: "galvani " + s.version,
	}
	return &plan
}

// writePlan writes the plan found, if it is to be kept.
func (s *setup) writePlan(found *planning.Found, path string) error {
	text, err := json.MarshalIndent(s.signed(found.Plan), "", "  ")
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
