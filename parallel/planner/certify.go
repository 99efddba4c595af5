package planner

import (
	"fmt"
)

// Certificate says whether a plan is the best of its cell, and how that is known.
type Certificate struct {
	Best float64 `json:"best_step_seconds"` // of all plans of the cell, by trying each
	Ways float64 `json:"ways"`              // to run a stage that were tried, or would have to be
	Sure bool    `json:"certified"`         // all were tried
	Gap  float64 `json:"gap"`               // how much longer the plan takes than Best, relatively
}

// mostWays is how many ways to run a stage are tried at most.
const mostWays = 2e6

// Certify holds a plan against every plan of its cell that fits, where these are
// few enough to try. Time is on the search's grid of memory.
func (o *Options) Certify(e *Evaluation) (*Certificate, error) {
	p := newPricer(o)
	c := e.cell()
	x := &Certificate{Sure: true}
	found := false
	for v := range p.variants(c) {
		c.Variant = v
		problem, err := p.problem(c)
		if err != nil {
			return nil, err
		}
		if problem == nil {
			continue
		}
		least, ways, ok := problem.Brute(mostWays)
		x.Ways += ways
		x.Sure = x.Sure && ok && x.Ways <= mostWays
		if !x.Sure {
			return x, nil
		}
		if !found || least < x.Best {
			x.Best, found = least, true
		}
	}
	if !found {
		return nil, fmt.Errorf("planner: %v: no strategy of the space fits the model", c)
	}
	x.Gap = e.Step/x.Best - 1
	return x, nil
}
