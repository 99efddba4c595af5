package train

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/train/launch"
)

// HangReport says what the workers of a run were at when nothing went on, a worker
// fell silent, or somebody asked.
type HangReport struct {
	Why     string         `json:"why"`
	Step    int            `json:"step"` // the last that all had done
	Workers []WorkerReport `json:"workers"`
	Suspect []int          `json:"suspect,omitempty"` // ranks that hold up the others
	Verdict string         `json:"verdict"`
}

// WorkerReport is one worker's line of a [HangReport].
type WorkerReport struct {
	comm.Worker
	Heard         bool        `json:"heard"`
	SilentSeconds float64     `json:"silent_seconds"`      // since its last heartbeat
	WaitsFor      *int        `json:"waits_for,omitempty"` // rank
	WaitSeconds   float64     `json:"wait_seconds,omitempty"`
	At            Whereabouts `json:"at"`
	silent, wait  time.Duration
}

// newHangReport makes a report of what the workers answered.
func newHangReport(why string, step int, answers []comm.Answer) HangReport {
	r := HangReport{Why: why, Step: step}
	for _, a := range answers {
		w := WorkerReport{Worker: a.Worker, Heard: a.Heard, silent: a.Silent, SilentSeconds: a.Silent.Seconds()}
		if len(a.Data) > 0 {
			var err error
			if w.At, err = decodeWhereabouts(a.Data); err != nil {
				w.Heard = false // its build is another, or its answer was garbled
			}
		}
		if longest := w.At.longest(); longest != nil {
			w.WaitsFor, w.wait = &longest.Peer, waited(longest, a)
			w.WaitSeconds = w.wait.Seconds()
		}
		r.Workers = append(r.Workers, w)
	}
	r.judge()
	return r
}

// Bounds of what a worker says of itself.
const (
	maxWaits = 4096
	maxWords = 4 << 10 // bytes of a name
)

// decodeWhereabouts reads where a worker is.
func decodeWhereabouts(b []byte) (Whereabouts, error) {
	var w Whereabouts
	if err := json.Unmarshal(b, &w); err != nil {
		return Whereabouts{}, fmt.Errorf("train: where a worker is: %w", err)
	}
	words := []string{w.Doing}
	for _, p := range []*Place{w.Computing, w.Exchange} {
		if p != nil {
			words = append(words, p.Name, p.Pass, p.Kind)
		}
	}
	for _, text := range words {
		if len(text) > maxWords {
			return Whereabouts{}, fmt.Errorf("train: where a worker is: a name of %d bytes: at most %d", len(text), maxWords)
		}
	}
	if len(w.Waits) > maxWaits {
		return Whereabouts{}, fmt.Errorf("train: where a worker is: it waits %d times: at most %d", len(w.Waits), maxWaits)
	}
	return w, nil
}

// judge finds who holds up the others: those that nobody hears from, else those
// that are waited for and wait for nobody.
func (r *HangReport) judge() {
	waitedFor := map[int]bool{}
	free := map[int]bool{}
	var silent, holding, waiting []int
	for _, w := range r.Workers {
		switch {
		case !w.Heard:
			silent = append(silent, w.Rank)
		case w.WaitsFor != nil:
			waitedFor[*w.WaitsFor] = true
			waiting = append(waiting, w.Rank)
		default:
			free[w.Rank] = true
		}
	}
	for _, w := range r.Workers {
		if free[w.Rank] && waitedFor[w.Rank] {
			holding = append(holding, w.Rank)
		}
	}
	switch {
	case len(silent) > 0:
		r.Suspect, r.Verdict = silent, ranks(silent)+" holds up the others: nobody hears from it"
	case len(holding) > 0:
		r.Suspect, r.Verdict = holding, ranks(holding)+" holds up the others: it waits for nobody"
	case len(waiting) == len(r.Workers) && len(waiting) > 1:
		r.Suspect, r.Verdict = waiting, "all wait for each other: a frame was lost, or they run different programs"
	default:
		r.Verdict = "no worker holds up another"
	}
}

// ranks is "rank 1" or "ranks 1, 3".
func ranks(all []int) string {
	var texts []string
	for _, r := range all {
		texts = append(texts, fmt.Sprint(r))
	}
	if len(texts) == 1 {
		return "rank " + texts[0]
	}
	return "each of the ranks " + strings.Join(texts, ", ")
}

// String gives the report as it is printed: why, a line for each worker, and who is
// likely the cause.
func (r HangReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; after step %d the workers are at:\n", r.Why, r.Step)
	for _, w := range r.Workers {
		fmt.Fprintf(&b, "rank %d: %v\n", w.Rank, w)
	}
	b.WriteString(r.Verdict)
	return b.String()
}

// String says what a worker is at.
func (w WorkerReport) String() string {
	at := &w.At
	switch {
	case !w.Heard:
		return fmt.Sprintf("does not answer, no heartbeat for %v (host %s, pid %d)", w.silent.Round(10*time.Millisecond), w.Host, w.PID)
	case at.Doing == "":
		return "is starting"
	}
	text := fmt.Sprintf("%s, step %d", at.Doing, at.Step)
	if p := at.Computing; p != nil && at.Exchange == nil {
		text += ": " + p.String()
	}
	if p := at.Exchange; p != nil {
		text += ": " + p.String()
	}
	if longest := at.longest(); longest != nil {
		text += fmt.Sprintf("; waits %v for rank %d, %s of %v", w.wait.Round(10*time.Millisecond), longest.Peer, longest.Op, longest.Tag)
	}
	return text
}

// String is as "all-reduce of layer 3 h.2.mlp.c_fc (backward), micro-batch 1".
func (p *Place) String() string {
	text := p.Kind + " of " + p.Name
	if p.Layer >= 0 {
		text = fmt.Sprintf("%s of layer %d %s", p.Kind, p.Layer, p.Name)
	}
	return fmt.Sprintf("%s (%s), micro-batch %d", text, p.Pass, p.MicroBatch)
}

// surveyed reports what the workers are at. Where nothing was heard of for a while
// but some worker has moved since it was asked before, it is slow and not stuck.
func (j *job) surveyed(occasion launch.Occasion, answers []comm.Answer) {
	why := "asked by a signal"
	switch occasion {
	case launch.Idle:
		still := unmoved(j.idle, answers)
		j.idle = answers
		if !still {
			return
		}
		why = fmt.Sprintf("no step was done for %v", j.spec.Config.HangTimeout)
	case launch.Lost:
		why = "a worker is silent"
	case launch.Asked:
	}
	r := newHangReport(why, j.result.Step, answers)
	j.result.Hangs = append(j.result.Hangs, r)
	j.progress.fact("hang", "%s", strings.ReplaceAll(r.String(), "\n", "\n            "))
}

// unmoved reports whether all workers answer as before. The first time nothing is
// known.
func unmoved(before, now []comm.Answer) bool {
	return len(before) > 0 && slices.EqualFunc(before, now, func(a, b comm.Answer) bool {
		return a.Rank == b.Rank && a.Heard == b.Heard && bytes.Equal(a.Data, b.Data)
	})
}
