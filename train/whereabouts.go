package train

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
)

// Whereabouts is what a worker is at, as it tells the coordinator on demand. Two
// that are equal mean that the worker has not moved between them.
type Whereabouts struct {
	Doing     string      `json:"doing"`               // "training", "evaluating", "saving" or "writing a snapshot"
	Step      int         `json:"step"`                // from 1
	Computing *Place      `json:"computing,omitempty"` // nil between passes
	Exchange  *Place      `json:"exchange,omitempty"`  // under way beside the computation, or in its place
	Waits     []comm.Wait `json:"waits,omitempty"`     // for other workers
}

// Place is an instruction of a worker's program.
type Place struct {
	MicroBatch int    `json:"micro_batch"`
	Layer      int    `json:"layer"` // -1 where it belongs to none
	Name       string `json:"name"`
	Pass       string `json:"pass"`
	Kind       string `json:"kind"`
}

func placeOf(p exec.Position) *Place {
	pass := "forward"
	if p.Tag.Pass == graph.Backward {
		pass = "backward"
	}
	return &Place{MicroBatch: p.Index, Layer: p.Tag.Layer, Name: p.Tag.Name, Pass: pass, Kind: strings.ReplaceAll(p.Kind, "_", "-")}
}

// locator tells where a worker is, while the worker goes on.
type locator struct {
	machine   *exec.Machine
	transport comm.Transport
	doing     atomic.Pointer[string]
	step      atomic.Int64
}

// What a worker does.
var (
	doingTraining   = "training"
	doingEvaluation = "evaluating"
	doingSnapshot   = "writing a snapshot"
	doingSave       = "saving"
)

// enter notes what the worker does from now on.
func (l *locator) enter(doing *string, step int) {
	l.step.Store(int64(step))
	l.doing.Store(doing)
}

// describe implements what [comm.Member.Answer] asks for.
func (l *locator) describe() json.RawMessage {
	var w Whereabouts
	if doing := l.doing.Load(); doing != nil {
		w.Doing, w.Step = *doing, int(l.step.Load())
	}
	if p, ok := l.machine.Position(); ok {
		if p.Exchange {
			w.Exchange = placeOf(p)
		} else {
			w.Computing = placeOf(p)
		}
	}
	if p, ok := l.machine.Exchanging(); ok {
		w.Exchange = placeOf(p)
	}
	w.Waits = comm.Waiting(l.transport)
	for i := range w.Waits {
		w.Waits[i].Since = w.Waits[i].Since.Round(0) // the wall clock, which Answer.Now is by
	}
	text, err := json.Marshal(w)
	if err != nil {
		return nil // nothing in it can fail
	}
	return text
}

// longest is the wait that began first, nil if there is none.
func (w *Whereabouts) longest() *comm.Wait {
	var first *comm.Wait
	for i := range w.Waits {
		if first == nil || w.Waits[i].Since.Before(first.Since) {
			first = &w.Waits[i]
		}
	}
	return first
}

// waited is how long a wait took at the time of an answer.
func waited(w *comm.Wait, a comm.Answer) time.Duration { return max(0, a.Now.Sub(w.Since)) }
