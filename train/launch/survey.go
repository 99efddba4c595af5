package launch

import (
	"errors"
	"os"
	"time"

	"github.com/galvani-ml/galvani/comm"
)

// Occasion says why the workers were asked what they are at.
type Occasion int

// The occasions.
const (
	Idle  Occasion = iota // no worker has reported anything for half of Watch.Idle
	Lost                  // a worker's lease ran out
	Asked                 // Watch.Ask said so
)

// Watch says when to ask the workers what they are at, see [comm.Coordinator.Survey].
// The zero value never does.
type Watch struct {
	Idle time.Duration    // ask twice in so long without a report; 0 for never
	Ask  <-chan os.Signal // ask when one comes
	// Report takes what the workers answered.
	Report func(Occasion, []comm.Answer)
}

// surveyLimit is how long workers may take to answer.
const surveyLimit = 500 * time.Millisecond

// survey asks the workers what they are at. An error will end the job anyway.
func (j *Job) survey(o Occasion) {
	if answers, err := j.hub.coordinator.Survey(surveyLimit); err == nil && j.opt.Watch.Report != nil {
		j.opt.Watch.Report(o, answers)
	}
}

// bearWitness hands on what the workers were at when a lease ran out.
func (j *Job) bearWitness(err error) {
	if lease, ok := errors.AsType[*comm.LeaseError](err); ok && len(lease.Answers) > 0 && j.opt.Watch.Report != nil {
		j.opt.Watch.Report(Lost, lease.Answers)
	}
}

// idleTimer fires when no event has come for a while.
type idleTimer struct {
	every time.Duration // 0 for never
	timer *time.Timer
}

func newIdleTimer(idle time.Duration) *idleTimer {
	t := &idleTimer{every: idle / 2, timer: time.NewTimer(max(1, idle/2))}
	if idle <= 0 {
		t.timer.Stop()
	}
	return t
}

// reset begins anew.
func (t *idleTimer) reset() {
	if t.every > 0 {
		t.timer.Reset(t.every)
	}
}
