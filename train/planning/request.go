package planning

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/parallel/search"
	"github.com/galvani-ml/galvani/train/profile"
	"github.com/galvani-ml/galvani/train/program"
)

// Request says what a plan is for.
type Request struct {
	Name    string // of the model
	Program program.Options
	Workers int
	Batches []int // sequences a step, over all workers
	Memory  int64 // of a worker, in bytes; 0 for what the cluster's devices have
	Cluster *cluster.Cluster
	Threads int             // of a worker, where the cluster's workers share processors
	Times   *profile.Layers // what the computation takes, as measured; nil to go by the cluster's device

	Paradigms  []search.Paradigm // empty for DP, SDP and TP
	Checkpoint bool
	Uniform    bool
	Mode       search.Mode
	Stages     []int
	Micros     []int
	RowsAtOnce int // sequences that a worker runs at once; 0 for any number
}

// Problem is a request with what the planner needs to know. It is to be closed.
type Problem struct {
	Request
	*planner.Options
	backend *cpu.Backend
}

// Open makes the problem of a request.
func Open(r Request) (*Problem, error) {
	if r.Workers < 1 {
		return nil, fmt.Errorf("%d workers: must be at least 1", r.Workers)
	}
	devices, err := r.Cluster.WithDevices(r.Workers)
	if err != nil {
		return nil, err
	}
	r.Cluster = devices
	model, err := models.Build(r.Program.Model, models.Options{Batch: 1, Seq: r.Program.Seq, Train: true})
	if err != nil {
		return nil, err
	}
	backend, err := cpu.New(1)
	if err != nil {
		return nil, err
	}
	p := &Problem{Request: r, backend: backend}
	table := program.NewTable(r.Program, backend)
	p.Options = p.options(parallel.FactsOf(model), table)
	if p.Options.Process, err = p.process(p.Options, table); err != nil {
		backend.Close()
		return nil, err
	}
	return p, nil
}

// Close frees what the problem holds.
func (p *Problem) Close() { p.backend.Close() }

// options are the planner's.
func (p *Problem) options(facts parallel.Facts, table *program.Table) *planner.Options {
	r := &p.Request
	o := &planner.Options{
		Model:   planner.Model{Name: r.Name, Facts: facts, Kinds: kinds(facts.Blocks), Tied: r.Program.Model.Tied()},
		Source:  &source{table: table, times: r.Times, request: r},
		Machine: cost.Machine{Cluster: r.Cluster, Precision: precision(r.Program.Precision)},
		Space:   search.Space{Devices: r.Workers, Paradigms: r.Paradigms, Checkpoint: r.Checkpoint},
		Batches: r.Batches, Stages: r.Stages, Micros: r.Micros, Mode: r.Mode, Uniform: r.Uniform,
		Memory: r.Memory, Rows: r.RowsAtOnce,
	}
	if r.Workers <= comparedWorkers {
		o.Margin = comparedMargin
	}
	if o.Memory == 0 {
		o.Memory = r.Cluster.Device.Memory
	}
	if r.Cluster.Cores > 0 {
		o.AtOnce = float64(r.Cluster.Hosts*r.Cluster.Cores) / float64(max(1, r.Threads))
	}
	if r.Times != nil {
		o.Machine.Update = r.Times.Update
	}
	return o
}

// Of searches for up to so many workers, which take little, reports have the best
// plans of other cells that are within the margin.
const (
	comparedWorkers = 64
	comparedMargin  = 0.1
)

// precision names that of products as clusters do.
func precision(p string) string {
	if p == "" {
		return string(exec.FP32)
	}
	return p
}

// The kinds of layers.
const (
	kindEmbedding = iota
	kindBlock
	kindHead
)

// kinds lists those of a model.
func kinds(blocks int) []int {
	return slices.Concat([]int{kindEmbedding}, slices.Repeat([]int{kindBlock}, blocks), []int{kindHead})
}
