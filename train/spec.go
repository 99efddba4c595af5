package train

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/data"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
)

// Spec is all that a worker needs to know of a run. The coordinator sends it
// when the worker has joined.
type Spec struct {
	Config  Config
	Model   json.RawMessage // config.json
	Plan    *parallel.Plan
	Data    data.Options
	Start   int    // steps taken before
	Weights string // directory to take parameters from; empty to draw them
	Moments bool   // Weights is a checkpoint: take the optimizer's state too
	Out     string // the run's directory
	Threads int    // of this worker
	Version string // of Galvani
	Trial   bool   // neither evaluate nor save

	Snapshots    SnapshotFiles // where to write snapshots, if the configuration asks for any
	FromSnapshot string        // path of the snapshot to begin with, before Weights; empty for none
}

// decodeSpec reads the spec of a job for so many workers.
func decodeSpec(text []byte, workers int) (*Spec, error) {
	s := &Spec{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("job spec: %w", err)
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("job spec: %w", err)
	}
	if n := s.Plan.Mesh().Size(); n != workers || s.Config.Workers != workers {
		return nil, fmt.Errorf("job spec: a plan of %d workers, a configuration of %d, the job has %d", n, s.Config.Workers, workers)
	}
	return s, nil
}

// maxThreads bounds the threads of a worker.
const maxThreads = 1 << 12

// validate checks what the program of a rank takes for granted.
func (s *Spec) validate() error {
	c := s.Config
	if s.Plan == nil {
		return errors.New("has no plan")
	}
	if s.Threads > maxThreads || s.Start < 0 || c.Steps < s.Start {
		return fmt.Errorf("%d threads, steps %d to %d", s.Threads, s.Start, c.Steps)
	}
	if c.Seq < 1 || c.Batch < 1 || c.Seq > math.MaxInt32/c.Batch {
		return fmt.Errorf("batches of %d sequences of %d tokens", c.Batch, c.Seq)
	}
	if c.SnapshotEvery < 0 || c.SaveEvery < 0 || c.EvalEvery < 0 {
		return fmt.Errorf("snapshots every %d steps, checkpoints every %d, evaluations every %d", c.SnapshotEvery, c.SaveEvery, c.EvalEvery)
	}
	if _, err := comm.ParsePlane(cmp.Or(c.Collectives, string(comm.NATS))); err != nil { // older records name none
		return err
	}
	cfg, err := models.ParseConfig(s.Model)
	if err != nil {
		return err
	}
	model, err := models.Build(cfg, models.Options{Batch: 1, Seq: c.Seq, Train: true})
	if err != nil {
		return err
	}
	return s.Plan.Validate(parallel.FactsOf(model), s.Plan.Mesh().Size(), c.Batch)
}

// Kinds of events that workers report.
const (
	eventRoutes = "routes"
	eventStep   = "step"
	eventVal    = "val"
	eventSaved  = "saved"
	eventDone   = "done"

	eventSnapshot = "snapshot" // only to be acknowledged
)

// commandStop asks the workers to save and end after the current step.
const commandStop = "stop"

// routesReport says which data planes join the workers.
type routesReport struct {
	Text  string
	Notes []string // why not better ones
}

// stepReport is one worker's view of a step. Loss and norm are the whole job's.
type stepReport struct {
	Step      int // from 1
	Loss      float64
	GradNorm  float64
	LR        float64
	Seconds   float64
	PeakBytes int64
	Rank      int `json:"-"` // the event tells
	exchanged
}

// valReport is an evaluation after a step.
type valReport struct {
	Step int
	Loss float64
}

// savedReport says what a worker added to a checkpoint.
type savedReport struct {
	Step            int
	Weights, States string                  // file names; empty where the worker had nothing to save
	Parts           map[string][]graph.Part // of each parameter that it wrote, by name: which part
}

// doneReport ends a worker's part.
type doneReport struct {
	Step int // the last
}

// report is what a worker reports.
type report interface {
	// check refuses what no worker of a run of so many steps reports.
	check(steps int) error
}

// decodeReport reads an event's data into r.
func decodeReport(text []byte, steps int, r report) error {
	if err := json.Unmarshal(text, r); err != nil {
		return err
	}
	return r.check(steps)
}

func checkStep(step, steps int) error {
	if step < 0 || step > steps {
		return fmt.Errorf("step %d of a run of %d", step, steps)
	}
	return nil
}

func (r *stepReport) check(steps int) error {
	if !(r.Seconds >= 0) || r.PeakBytes < 0 || r.SentBytes < 0 {
		return fmt.Errorf("step %d took %v s and %d bytes, and sent %d", r.Step, r.Seconds, r.PeakBytes, r.SentBytes)
	}
	return checkStep(r.Step, steps)
}

func (r *valReport) check(steps int) error { return checkStep(r.Step, steps) }

// Bounds of what is shown of data planes: all pairs of 64 ranks may have a note.
const (
	maxNotes     = 1 << 11
	maxNoteBytes = 16 << 10
)

func (r *routesReport) check(int) error {
	long := slices.ContainsFunc(r.Notes, func(note string) bool { return len(note) > maxNoteBytes })
	if len(r.Text) > maxNoteBytes || len(r.Notes) > maxNotes || long {
		return fmt.Errorf("a data plane of %d bytes, %d notes of up to %d: more than is shown", len(r.Text), maxNotes, maxNoteBytes)
	}
	return nil
}

// check refuses files that are none of a checkpoint's tensors: their names become
// paths in its directory.
func (r *savedReport) check(steps int) error {
	for _, name := range []string{r.Weights, r.States} {
		if name != "" && (!filepath.IsLocal(name) || filepath.Base(name) != name || filepath.Ext(name) != ".safetensors") {
			return fmt.Errorf("file name %.100q is none of a checkpoint's", name)
		}
	}
	return checkStep(r.Step, steps)
}
