package simulate

import (
	"container/heap"
	"math"
)

// engine plays a job: it goes from one end of an activity to the next.
type engine struct {
	job     *Job
	overlap float64
	now     float64
	left    int // stages that are not done
	players []*player
	pools   pools
	up      []*channel // of each stage, to the one after
	down    []*channel // of each stage, to the one before
	arrived []int      // stages at each barrier
	links   map[*Link]*link
	inOrder []*link

	record   bool
	timeline Timeline
}

// link is a link under way.
type link struct {
	*Link
	pool  *pool
	bytes float64
}

// newEngine sets a valid job up.
func newEngine(j *Job, record bool) *engine {
	e := &engine{job: j, overlap: j.overlap(), left: len(j.Stages), links: map[*Link]*link{}, record: record}
	e.arrived = make([]int, barriers(j.Stages[0].Update))
	hosts := map[int]*pool{}
	for i := range j.Stages {
		s := &j.Stages[i]
		p := &player{engine: e, index: i, stage: s, actions: j.Schedule.Actions(len(j.Stages), i, j.Micro)}
		p.queue.player = p
		p.own = e.pools.add(math.Inf(1), e.overlap)
		switch {
		case j.Cores == 0:
			p.cores = e.pools.add(math.Inf(1), e.overlap)
		case hosts[s.Host] == nil:
			hosts[s.Host] = e.pools.add(j.Cores, e.overlap)
			fallthrough
		default:
			p.cores = hosts[s.Host]
		}
		for _, pass := range []Pass{Forward, Backward, Update} {
			e.addLinks(s.tasks(pass))
			p.awaited = make([]int, max(len(p.awaited), len(s.tasks(pass))+1))
		}
		e.players = append(e.players, p)
		p.memory = newMemory(p)
	}
	for i, p := range e.players {
		up, down := &channel{from: p}, &channel{from: p}
		if i+1 < len(e.players) {
			up.to = e.players[i+1]
		}
		if i > 0 {
			down.to = e.players[i-1]
		}
		e.up, e.down = append(e.up, up), append(e.down, down)
	}
	return e
}

// addLinks makes the links of tasks.
func (e *engine) addLinks(tasks []Task) {
	for i := range tasks {
		x := tasks[i].Exchange
		if x == nil || x.Link == nil || e.links[x.Link] != nil {
			continue
		}
		l := &link{Link: x.Link, pool: e.pools.add(x.Link.Rate, e.overlap)}
		e.links[x.Link] = l
		e.inOrder = append(e.inOrder, l)
	}
}

// to is the channel that a pass's message leaves by.
func (e *engine) to(stage int, p Pass) *channel {
	if p == Forward {
		return e.up[stage]
	}
	return e.down[stage]
}

// from is the channel that a pass's message comes by.
func (e *engine) from(stage int, p Pass) *channel {
	if p == Forward {
		return e.up[stage-1]
	}
	return e.down[stage+1]
}

// play plays the step.
func (e *engine) play() error {
	e.proceedAll()
	for e.left > 0 {
		p := e.pools[0]
		if !(p.end <= math.MaxFloat64) {
			return errTooLong
		}
		e.now = p.end
		ended := p.finish(e.now)
		heap.Fix(&e.pools, p.place)
		for _, a := range ended {
			if a.exchange {
				a.owner.queue.ended()
			} else {
				a.owner.computed()
			}
		}
	}
	for _, p := range e.players {
		p.wait(Bubble, e.now)
	}
	return nil
}

// proceedAll lets all stages go on.
func (e *engine) proceedAll() {
	for _, p := range e.players {
		p.proceed()
	}
}

// start starts an activity.
func (e *engine) start(p *pool, a *activity) {
	a.pool = p
	p.add(a, e.now)
	heap.Fix(&e.pools, p.place)
}

// slow sets whether the activity is slowed.
func (e *engine) slow(a *activity, slowed bool) {
	if a.slowed == slowed {
		return
	}
	a.slowed = slowed
	a.pool.share(e.now)
	heap.Fix(&e.pools, a.pool.place)
}

// note records an event.
func (e *engine) note(p *player, kind Kind, t *Task, pass Pass, micro int, start, end float64) {
	if !e.record {
		return
	}
	event := Event{Stage: p.index, Kind: kind, Pass: pass, Micro: micro, Start: start, End: end}
	if t != nil {
		event.Name, event.Layer = t.Name, t.Layer
	}
	e.timeline.Events = append(e.timeline.Events, event)
}

// noteMemory records what a stage holds from now on.
func (e *engine) noteMemory(p *player, bytes int64) {
	if e.record {
		e.timeline.Memory = append(e.timeline.Memory, Held{p.index, e.now, bytes})
	}
}
