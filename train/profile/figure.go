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
	// warmUps are calls before those that count: the first brings memory in, the
	// last tells how many fit the window.
	warmUps = 2
	// A turn is of as many calls as take turnShare of the window, and at most
	// maxCalls: the ranks leave a barrier one after another, which must be little
	// beside the turn.
	turnShare = 0.05
	maxCalls  = 1000
	// minTurns and maxTurns bound the turns of a figure; of calls that take
	// longer than slow, fewTurns are enough.
	minTurns, maxTurns = 5, 200
	slow               = 50 * time.Millisecond
	fewTurns           = 3
)

// measure has all ranks call f at the same time, again and again, and gives the
// figure of the slowest rank of each turn. All get the same.
func (s *stand) measure(ctx context.Context, name string, f func() error) (figure, error) {
	var once float64
	for range warmUps {
		var err error
		if once, err = s.turn(ctx, name, 1, f); err != nil {
			return figure{}, err
		}
	}
	firsts, err := s.exchange(ctx, name, []float64{once})
	if err != nil {
		return figure{}, err
	}
	calls, turns := s.repetitions(slices.Max(slowest(firsts)))
	times := make([]float64, turns)
	for i := range times {
		if times[i], err = s.turn(ctx, name, calls, f); err != nil {
			return figure{}, err
		}
	}
	all, err := s.exchange(ctx, name, times)
	if err != nil {
		return figure{}, err
	}
	return summarize(slowest(all)), nil
}

// turn calls f so many times, on all ranks at the same time, and tells the
// seconds that a call took here.
func (s *stand) turn(ctx context.Context, name string, calls int, f func() error) (float64, error) {
	if err := s.world.Barrier(ctx, name); err != nil {
		return 0, err
	}
	start := time.Now()
	for range calls {
		if err := f(); err != nil {
			return 0, err
		}
	}
	return time.Since(start).Seconds() / float64(calls), nil
}

// repetitions is how many calls, that take so many seconds, make a turn, and how
// many turns fit the window.
func (s *stand) repetitions(once float64) (calls, turns int) {
	once = max(once, 1e-9)
	window := s.spec.Window.Seconds()
	calls = int(min(max(turnShare*window/once, 1), maxCalls))
	least := minTurns
	if once > slow.Seconds() {
		least = fewTurns
	}
	return calls, int(min(max(window/once/float64(calls), float64(least)), maxTurns))
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
		if all[rank], err = decodeTimes(t, len(mine)); err != nil {
			return nil, fmt.Errorf("%s: rank %d measured %w", name, rank, err)
		}
	}
	return all, nil
}

// slowest is the time of the slowest rank of each turn, of times by rank and
// turn.
func slowest(times [][]float64) []float64 {
	worst := slices.Clone(times[0])
	for _, t := range times[1:] {
		for i, x := range t {
			worst[i] = max(worst[i], x)
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

// leastSeconds is the least that is left of a figure.
const leastSeconds = 1e-6

// less is the figure without seconds of it that are known.
func (f figure) less(seconds float64) figure {
	left := max(f.Seconds-seconds, leastSeconds)
	return figure{left, f.Spread * f.Seconds / left}
}
