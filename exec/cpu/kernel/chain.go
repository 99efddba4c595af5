package kernel

// LinkOp is what a [Link] does.
type LinkOp uint8

// The operations of links.
const (
	LinkAdd     LinkOp = iota // x + Other
	LinkValue                 // Function at x
	LinkSlope                 // x times the derivative of Function at Other
	LinkDropout               // as [Dropout]
)

// A Link is one operation of a [Chain], on each element x.
type Link struct {
	Op       LinkOp
	Function Function
	Other    []float32
	Dropout  DropoutArgs
	Keep     []float32 // receives the result; nil if only the next link needs it
}

// MaxLinks is how many links a Chain has at most.
const MaxLinks = 4

// chainBlock is how many elements go through all links before the next ones:
// what lies between two links stays in the first cache.
const chainBlock = 2048

type chainTask struct {
	in    *inner
	links [MaxLinks]chainLink
	n     int
}

type chainLink struct {
	Link
	y, x []float32
	drop dropoutTask
}

// Chain applies links to x, one after the other, and sets y to the result. It
// gives the same bits as a kernel for each link. y may be x, or the other operand
// of the first link.
func Chain(p *Pool, y, x []float32, links []Link) {
	t := &p.tasks.chain
	t.in, t.n = active.Load(), len(links)
	for i, l := range links {
		dst := y
		if i < len(links)-1 && l.Keep != nil {
			dst = l.Keep
		}
		t.links[i] = chainLink{Link: l, y: dst[:len(y)], x: x[:len(y)]}
		if l.Op == LinkDropout {
			t.links[i].drop = dropoutTask{in: t.in, y: dst, x: x, d: l.Dropout, k: l.Dropout.factors()}
		}
		x = dst
	}
	p.run(len(y), chunk, t)
	*t = chainTask{}
}

func (t *chainTask) run(_, lo, hi int) {
	for ; lo < hi; lo += chainBlock {
		for i := range t.n {
			t.links[i].run(t.in, lo, min(lo+chainBlock, hi))
		}
	}
}

func (l *chainLink) run(in *inner, lo, hi int) {
	value, slope := in.function(l.Function)
	switch y, x := l.y[lo:hi], l.x[lo:hi]; l.Op {
	case LinkAdd:
		in.add(y, x, l.Other[lo:hi])
	case LinkValue:
		value(y, x)
	case LinkSlope:
		slope(y, x, l.Other[lo:hi])
	case LinkDropout:
		l.drop.run(0, lo, hi)
	}
}
