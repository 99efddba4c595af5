package simulate

import "fmt"

// Timeline is a step as it was played.
type Timeline struct {
	Summary
	Events []Event // in the order in which they end
	Memory []Held  // in order of time
}

// Event is what a stage does for a while: its computation, or its exchanges.
// Compute, Stall and Bubble fill the computation's time without gaps; Exchanging
// is beside them.
type Event struct {
	Stage int
	Kind  Kind
	Pass  Pass
	Micro int    // of forward and backward passes
	Name  string // of the task; empty for waiting
	Layer int    // of the task
	Start float64
	End   float64
}

// Held is what a rank of a stage holds from a time on.
type Held struct {
	Stage int
	Time  float64
	Bytes int64
}

// Kind is what an event is.
type Kind uint8

// The kinds.
const (
	Compute    Kind = iota
	Stall           // the computation waits for an exchange, or for a message on its way
	Bubble          // the computation waits for another stage
	Exchanging      // an exchange is under way
)

// String gives the kind in lower case.
func (k Kind) String() string {
	return word(int(k), "compute", "stall", "bubble", "exchange")
}

// Pass is a pass of a micro-batch, or the end of the step.
type Pass uint8

// The passes.
const (
	Forward Pass = iota
	Backward
	Update
)

// String gives the pass in lower case.
func (p Pass) String() string { return word(int(p), "forward", "backward", "update") }

// word is the i-th word, or i.
func word(i int, words ...string) string {
	if i >= len(words) {
		return fmt.Sprint(i)
	}
	return words[i]
}

// Play plays the job and tells all that happens. Errors are those of
// [Job.Validate].
func Play(j *Job) (*Timeline, error) {
	e, err := play(j, true)
	if err != nil {
		return nil, err
	}
	e.timeline.Summary = e.summary()
	return &e.timeline, nil
}

// Measure plays the job and tells the sums alone, in less memory.
func Measure(j *Job) (*Summary, error) {
	e, err := play(j, false)
	if err != nil {
		return nil, err
	}
	s := e.summary()
	return &s, nil
}

func play(j *Job, record bool) (*engine, error) {
	if err := j.Validate(); err != nil {
		return nil, err
	}
	e := newEngine(j, record)
	return e, e.play()
}
