package simulate

import (
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
)

// player plays a stage: its computation, which goes through the passes of the
// schedule task by task, and its queue of exchanges.
type player struct {
	engine *engine
	index  int
	stage  *Stage
	cores  *pool // that it computes on
	own    *pool // for what of an exchange is on no shared link

	actions []parallel.Action
	action  int // under way; len(actions) is the update
	pass    Pass
	micro   int
	tasks   []Task
	task    int  // the next one
	begun   bool // the pass
	busy    bool // with a task that the computation waits for
	done    bool // with the step

	received  bool // what comes from the neighbour, if anything does
	sent      bool // or queued
	atBarrier bool
	barriers  int // passed

	awaited  []int // by task, exchanges under way that it waits for; of task 0 the pass's end
	byUpdate int   // exchanges under way that the update waits for
	joined   int   // the last task before which there is nothing to wait for

	work      activity
	computing *activity // work, or nil: none
	queue     queue
	memory    memory
	use       StageSummary
	until     float64 // the computation is accounted for up to here
}

// proceed goes on until the computation has to wait.
func (p *player) proceed() {
	for !p.busy && !p.done && p.step() {
	}
}

// step does the next thing, and reports whether that was possible.
func (p *player) step() bool {
	if p.atBarrier {
		return p.meet()
	}
	if !p.begun {
		p.begin()
	}
	for p.task < len(p.tasks) && !p.tasks[p.task].Only.has(p.micro, p.engine.job.Micro) {
		p.task++
	}
	atEnd := p.task == len(p.tasks)
	if !atEnd && p.tasks[p.task].beside() {
		return p.startTask()
	}
	if !p.receive() || !p.join() {
		return false
	}
	if atEnd {
		return p.endPass()
	}
	return p.startTask()
}

// begin begins a pass.
func (p *player) begin() {
	p.begun, p.task, p.joined, p.received, p.sent = true, 0, 0, true, true
	p.pass, p.micro = Update, 0
	if p.action < len(p.actions) {
		a := p.actions[p.action]
		p.pass, p.micro = Forward, a.Micro
		if a.Pass == graph.Backward {
			p.pass = Backward
		}
		p.received = !p.engine.job.hasBefore(p.index, p.pass)
		p.sent = !p.engine.job.hasAfter(p.index, p.pass)
		p.memory.begin(p.pass)
	}
	p.tasks = p.stage.tasks(p.pass)
	p.receive()
}

// receive takes what the pass needs of the neighbour, and reports whether it has
// come.
func (p *player) receive() bool {
	if p.received {
		return true
	}
	c := p.engine.from(p.index, p.pass)
	if !c.arrived {
		return false
	}
	p.wait(Bubble, min(c.began, p.engine.now))
	p.wait(Stall, p.engine.now)
	p.received = true
	c.take()
	return true
}

// join reports whether the exchanges have ended that the next task, or the
// pass's end, waits for.
func (p *player) join() bool {
	if p.pass == Update && p.byUpdate > 0 {
		return false
	}
	for ; p.joined < p.task; p.joined++ {
		if p.awaited[p.joined+1] > 0 {
			return false
		}
	}
	if p.task == len(p.tasks) && p.awaited[PassEnd] > 0 {
		return false
	}
	p.wait(Stall, p.engine.now)
	return true
}

// startTask starts the next task, and reports whether the computation goes on to
// the one after it.
func (p *player) startTask() bool {
	t := &p.tasks[p.task]
	e := p.engine
	switch {
	case t.Barrier:
		return p.meet()
	case t.beside():
		p.task++
		p.queue.put(p.exchange(t))
		return true
	}
	if p.pass != Update {
		p.memory.enter(t.Layer)
	}
	p.busy = true
	if t.Exchange != nil {
		p.queue.put(p.exchange(t))
		return false
	}
	p.work = activity{owner: p, limit: 1, weight: float64(p.stage.ranks()), left: t.Compute}
	p.computing = &p.work
	e.start(p.cores, p.computing)
	p.disturb()
	return false
}

// exchange notes who waits for an exchange that the current pass makes.
func (p *player) exchange(t *Task) *exchange {
	x := &exchange{task: t, pass: p.pass, micro: p.micro}
	switch {
	case !t.Exchange.Beside:
	case t.Exchange.NeededBy == ByUpdate:
		x.awaited = &p.byUpdate
	default:
		x.awaited = &p.awaited[t.Exchange.NeededBy]
	}
	if x.awaited != nil {
		*x.awaited++
	}
	if t.Exchange.Send {
		x.to = p.engine.to(p.index, p.pass)
		p.sent = true
	}
	return x
}

// computed ends the computation under way.
func (p *player) computed() {
	p.computing = nil
	p.disturb()
	t := &p.tasks[p.task]
	p.account(Compute, t, p.engine.now)
	p.busy = false
	p.task++
	p.proceed()
}

// exchanged goes on after an exchange.
func (p *player) exchanged(x *exchange) {
	if x.awaited != nil {
		*x.awaited--
	}
	if p.busy && p.computing == nil && x.task == &p.tasks[p.task] {
		p.wait(Stall, p.engine.now)
		p.busy = false
		p.task++
	}
	p.proceed()
}

// disturb slows computation and exchange down while both run.
func (p *player) disturb() {
	if p.engine.overlap == 1 {
		return
	}
	both := p.computing != nil && p.queue.activity != nil
	if p.computing != nil {
		p.engine.slow(p.computing, both)
	}
	if p.queue.activity != nil {
		p.engine.slow(p.queue.activity, both)
	}
}

// nothing is the message of a pass that has no task for it.
var nothing = Task{Name: "send", Exchange: &Exchange{Send: true, Beside: true, NeededBy: ByUpdate}}

// endPass ends the pass.
func (p *player) endPass() bool {
	if !p.sent {
		p.queue.put(p.exchange(&nothing))
	}
	if p.pass == Update {
		p.done = true
		p.engine.left--
		return false
	}
	p.memory.end(p.pass)
	p.action++
	p.begun = false
	return true
}

// meet is at the barrier that is the next task, and reports whether all others are.
func (p *player) meet() bool {
	e := p.engine
	if !p.atBarrier {
		p.atBarrier = true
		e.arrived[p.barriers]++
		if e.arrived[p.barriers] == len(e.players) {
			defer e.proceedAll()
		}
	}
	if e.arrived[p.barriers] < len(e.players) {
		return false
	}
	p.wait(Bubble, e.now)
	p.atBarrier = false
	p.barriers++
	p.task++
	return true
}

// wait accounts for waiting until some time.
func (p *player) wait(kind Kind, until float64) {
	if until > p.until {
		p.account(kind, nil, until)
	}
}

// account accounts for the computation, until some time.
func (p *player) account(kind Kind, t *Task, until float64) {
	p.use.add(kind, p.pass, until-p.until)
	p.engine.note(p, kind, t, p.pass, p.micro, p.until, until)
	p.until = until
}
