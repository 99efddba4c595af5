package profile

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// warmUps are turns before those that count: the first brings memory in, the
	// last tells how many turns fit the window.
	warmUps = 2
	// minTurns and maxTurns bound the turns of a figure; of calls that take
	// longer than slow, fewTurns are enough.
	minTurns, maxTurns = 5, 50
	slow               = 50 * time.Millisecond
	fewTurns           = 3
)

// measure has all ranks call f at the same time, again and again, and gives the
// figure of the slowest rank. All get the same.
func (s *stand) measure(ctx context.Context, name string, f func() error) (figure, error) {
	var once float64
	for range warmUps {
		var err error
		if once, err = s.turn(ctx, name, f); err != nil {
			return figure{}, err
		}
	}
	firsts, err := s.exchange(ctx, name, []float64{once})
	if err != nil {
		return figure{}, err
	}
	times := make([]float64, s.turns(slices.MaxFunc(firsts, slices.Compare)[0]))
	for i := range times {
		if times[i], err = s.turn(ctx, name, f); err != nil {
			return figure{}, err
		}
	}
	all, err := s.exchange(ctx, name, times)
	if err != nil {
		return figure{}, err
	}
	return slowest(all), nil
}

// turn calls f once, on all ranks at the same time, and tells the seconds here.
func (s *stand) turn(ctx context.Context, name string, f func() error) (float64, error) {
	if err := s.world.Barrier(ctx, name); err != nil {
		return 0, err
	}
	start := time.Now()
	err := f()
	return time.Since(start).Seconds(), err
}

// turns is how many calls that take so many seconds fit the window.
func (s *stand) turns(once float64) int {
	least := minTurns
	if once > slow.Seconds() {
		least = fewTurns
	}
	return int(min(max(s.spec.Window.Seconds()/max(once, 1e-9), float64(least)), maxTurns))
}

// exchange gives every rank the numbers of all, by rank; all have equally many.
func (s *stand) exchange(ctx context.Context, name string, mine []float64) ([][]float64, error) {
	var text []byte
	for _, x := range mine {
		text = binary.LittleEndian.AppendUint64(text, math.Float64bits(x))
	}
	texts, err := s.world.Exchange(ctx, name, text)
	if err != nil {
		return nil, err
	}
	all := make([][]float64, len(texts))
	for rank, t := range texts {
		if len(t) != len(text) {
			return nil, fmt.Errorf("%s: rank %d measured %d bytes of times, this rank %d", name, rank, len(t), len(text))
		}
		for ; len(t) > 0; t = t[8:] {
			all[rank] = append(all[rank], math.Float64frombits(binary.LittleEndian.Uint64(t)))
		}
	}
	return all, nil
}

// slowest is the figure of the rank whose median is largest.
func slowest(times [][]float64) (worst figure) {
	for _, t := range times {
		if f := summarize(t); f.Seconds > worst.Seconds {
			worst = f
		}
	}
	return worst
}

// summarize gives median, and interquartile range over it.
func summarize(times []float64) figure {
	t := slices.Sorted(slices.Values(times))
	m := quantile(t, 0.5)
	if m == 0 {
		return figure{}
	}
	return figure{m, (quantile(t, 0.75) - quantile(t, 0.25)) / m}
}

// quantile interpolates in sorted numbers.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
