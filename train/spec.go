package train

import (
	"encoding/json"

	"github.com/galvani-ml/galvani/data"
	"github.com/galvani-ml/galvani/graph"
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
