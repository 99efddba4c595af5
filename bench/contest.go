package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// contestant is one side and what it did in each round.
type contestant struct {
	peer
	source
	rounds []reply
}

// contest measures the workload on us and on peers in turns.
func contest(ctx context.Context, o TrainOptions, w workload, us peer, peers ...peer) (r Result, err error) {
	var sides []*contestant
	defer func() {
		for _, s := range sides {
			err = errors.Join(err, s.close())
		}
	}()
	for _, p := range append([]peer{us}, peers...) {
		s, err := p.open(ctx, o, w)
		if err != nil {
			return Result{}, err
		}
		sides = append(sides, &contestant{peer: p, source: s})
	}
	if err := play(sides, o, w); err != nil {
		return Result{}, err
	}
	r = summarize(o, w, sides[0], sides[1:])
	if o.Profile {
		r.Profile, err = sides[0].profile(o.Steps)
	}
	return r, err
}

// play runs all rounds. The side that goes first changes from round to round.
func play(sides []*contestant, o TrainOptions, w workload) error {
	turns := slices.Clone(sides)
	// A command warms itself up.
	measured := slices.DeleteFunc(slices.Clone(sides), func(c *contestant) bool { return c.losses == untold })
	if err := round(measured, warmup); err != nil {
		return err
	}
	var first []float64
	for _, s := range measured {
		first = append(first, s.last().Losses[0])
		if err := s.checkFirst(w); err != nil {
			return err
		}
		s.rounds = nil
	}
	for range o.Rounds {
		if err := round(turns, o.Steps); err != nil {
			return err
		}
		slices.Reverse(turns)
	}
	for i, s := range measured {
		if err := s.checkLast(w, first[i]); err != nil {
			return err
		}
	}
	return nil
}

// rest lets the threads of a side that has just run, which spin for some
// milliseconds when they become idle, come to rest before the next is measured.
const rest = 20 * time.Millisecond

// round gives each side a turn, and checks that those that must have computed
// the same did.
func round(turns []*contestant, steps int) error {
	for _, s := range turns {
		time.Sleep(rest)
		if err := s.turn(steps); err != nil {
			return err
		}
	}
	var a *contestant
	for _, b := range turns {
		switch {
		case b.losses != equal:
		case a == nil:
			a = b
		default:
			if err := checkEqual(a, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// tolerance is by how much two losses that must be the same may differ, and
// nearness by how much a first loss may differ from ln V, relatively.
const (
	tolerance = 1e-3
	nearness  = 0.15
)

// checkEqual compares the losses of the last turn.
func checkEqual(a, b *contestant) error {
	for i, x := range a.last().Losses {
		if y := b.last().Losses[i]; math.Abs(x-y) > tolerance*math.Abs(x) {
			return fmt.Errorf("bench: after as many steps the loss of %s is %.6g and that of %s is %.6g: they do not compute the same, so nothing can be compared", a.name, x, b.name, y)
		}
	}
	return nil
}

// checkFirst wants the first loss of a side with parameters of its own to be
// that of a model that knows nothing.
func (c *contestant) checkFirst(w workload) error {
	first, want := c.last().Losses[0], math.Log(float64(w.Vocab))
	if c.losses == learnt && !(math.Abs(first-want) <= nearness*want) {
		return fmt.Errorf("bench: the first loss of %s is %.6g, not near ln V = %.6g: it does not compute the same, so nothing can be compared", c.name, first, want)
	}
	return nil
}

// checkLast wants it to have fallen.
func (c *contestant) checkLast(w workload, first float64) error {
	losses := c.last().Losses
	if last := losses[len(losses)-1]; c.losses == learnt && w.Update && !(last < first) {
		return fmt.Errorf("bench: the loss of %s went from %.6g to %.6g: it does not learn, so nothing can be compared", c.name, first, last)
	}
	return nil
}

func (c *contestant) turn(steps int) error {
	r, err := c.steps(steps)
	c.rounds = append(c.rounds, r)
	return err
}

func (c *contestant) last() reply { return c.rounds[len(c.rounds)-1] }

// profile has the side tell where the time of a step goes.
func (c *contestant) profile(steps int) ([]KernelTime, error) {
	p, ok := c.source.(*process)
	if !ok {
		return nil, fmt.Errorf("bench: %s cannot tell where its time goes", c.name)
	}
	var r reply
	if err := p.ask(request{Steps: steps, Limit: true, Profile: true}, &r); err != nil {
		return nil, err
	}
	if r.Limit > 0 {
		for i, k := range r.Profile {
			r.Profile[i].OfPeak = k.GFLOPs / r.Limit
		}
	}
	return r.Profile, nil
}
