package simulate

import "math"

// exchange is an exchange of a pass.
type exchange struct {
	task    *Task
	pass    Pass
	micro   int
	awaited *int     // counts those that the computation waits for together
	to      *channel // of a message
}

// queue runs the exchanges of a stage one after another.
type queue struct {
	player   *player
	waiting  []*exchange // the first is under way, or is held up
	work     activity
	activity *activity // work, of the first; nil if that is held up
	began    float64
	flowing  bool // the latency is over
}

// put adds an exchange.
func (q *queue) put(x *exchange) {
	q.waiting = append(q.waiting, x)
	if len(q.waiting) == 1 {
		q.next()
	}
}

// next begins the first exchange, unless the message before it is still to be
// taken.
func (q *queue) next() {
	if len(q.waiting) == 0 || q.activity != nil {
		return
	}
	x, e := q.waiting[0], q.player.engine
	if x.to != nil && !x.to.begin(e.now) {
		return
	}
	q.began = e.now
	spec := x.task.Exchange
	q.flowing = spec.Link == nil || spec.Latency == 0 && spec.Bytes > 0
	q.work = activity{owner: q.player, exchange: true, limit: 1, weight: 1, left: spec.Latency}
	q.activity = &q.work
	pool := q.player.own
	switch {
	case spec.Link == nil:
		q.activity.left = spec.alone()
	case q.flowing:
		pool = q.flow(spec)
	}
	e.start(pool, q.activity)
	q.player.disturb()
}

// flow makes the activity a flow over a link.
func (q *queue) flow(spec *Exchange) *pool {
	a := q.activity
	a.left, a.weight, a.limit = spec.Bytes, spec.flows(), math.Inf(1)
	if spec.Rate > 0 {
		a.limit = spec.Rate
	}
	link := q.player.engine.links[spec.Link]
	link.bytes += spec.Bytes * spec.flows()
	return link.pool
}

// ended goes on after the latency, or ends the exchange.
func (q *queue) ended() {
	x, e := q.waiting[0], q.player.engine
	if !q.flowing {
		q.flowing = true
		e.start(q.flow(x.task.Exchange), q.activity)
		return
	}
	q.activity = nil
	q.waiting = q.waiting[1:]
	q.player.use.Exchanges += e.now - q.began
	e.note(q.player, Exchanging, x.task, x.pass, x.micro, q.began, e.now)
	q.next()
	q.player.disturb()
	if x.to != nil {
		x.to.arrive()
	}
	q.player.exchanged(x)
}

// channel carries the messages of one stage to a neighbour, one at a time.
type channel struct {
	from, to *player
	under    bool    // a message is on its way, or has come and is not taken
	arrived  bool    // it has come
	began    float64 // when it left
}

// begin reports whether a message can leave, and notes that it does.
func (c *channel) begin(now float64) bool {
	if c.under {
		return false
	}
	c.under, c.arrived, c.began = true, false, now
	return true
}

// arrive notes that the message has come.
func (c *channel) arrive() {
	c.arrived = true
	c.to.proceed()
}

// take makes room for the next message.
func (c *channel) take() {
	c.under, c.arrived = false, false
	c.from.queue.next()
}
