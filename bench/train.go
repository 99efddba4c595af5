package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
)

// TrainOptions say how long and how the suite train measures. Zero fields take
// the defaults.
type TrainOptions struct {
	Rounds  int  // turns each side takes; default 5
	Steps   int  // a turn; default 3
	Threads int  // of each side; default as many as this process uses
	JSON    bool // one JSON object a line instead of tables
}

// warmup is how many steps each side runs before it is measured.
const warmup = 2

// tolerance is by how much the two losses may differ, relatively.
const tolerance = 1e-3

// Train measures training steps on Galvani and on Gorgonia's TapeMachine, with
// and without the optimizer's update, and writes a [Result] of each to stdout.
// When ctx ends it stops at once.
func Train(ctx context.Context, o TrainOptions, stdout io.Writer) error {
	step := small
	step.Update = true
	return train(ctx, o, stdout, step, small)
}

func train(ctx context.Context, o TrainOptions, stdout io.Writer, workloads ...workload) error {
	if o.Rounds < 0 || o.Steps < 0 || o.Threads < 0 {
		return fmt.Errorf("bench: %d rounds, %d steps, %d threads: none may be negative", o.Rounds, o.Steps, o.Threads)
	}
	o.Rounds, o.Steps = cmp.Or(o.Rounds, 5), cmp.Or(o.Steps, 3)
	o.Threads = cmp.Or(o.Threads, runtime.GOMAXPROCS(0))
	for _, w := range workloads {
		r, err := contest(ctx, o, w, ours, theirs)
		if err != nil {
			return err
		}
		if o.JSON {
			err = json.NewEncoder(stdout).Encode(r)
		} else {
			err = writeTraining(stdout, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// contest measures the workload on two kinds of runners in turns.
func contest(ctx context.Context, o TrainOptions, w workload, kinds ...string) (r Result, err error) {
	var sides []*contestant
	defer func() {
		for _, s := range sides {
			err = errors.Join(err, s.process.close())
		}
	}()
	for _, kind := range kinds {
		p, err := launch(ctx, kind, w, o.Threads)
		if err != nil {
			return Result{}, err
		}
		sides = append(sides, &contestant{process: p})
	}
	if err := play(sides, o); err != nil {
		return Result{}, err
	}
	return summarize(o, w, sides[0], sides[1]), nil
}

// play runs all rounds. The side that goes first changes from round to round.
func play(sides []*contestant, o TrainOptions) error {
	turns := slices.Clone(sides)
	if err := round(turns, warmup); err != nil {
		return err
	}
	for _, s := range sides {
		s.rounds = nil
	}
	for range o.Rounds {
		if err := round(turns, o.Steps); err != nil {
			return err
		}
		slices.Reverse(turns)
	}
	return nil
}

// round gives each side a turn, and checks that they computed the same.
func round(turns []*contestant, steps int) error {
	for _, s := range turns {
		if err := s.turn(steps); err != nil {
			return err
		}
	}
	a, b := turns[0], turns[1]
	for i, x := range a.last().Losses {
		if y := b.last().Losses[i]; math.Abs(x-y) > tolerance*math.Abs(x) {
			return fmt.Errorf("bench: after as many steps the loss of %s is %.6g and that of %s is %.6g: they do not compute the same, so nothing can be compared", a.process.kind, x, b.process.kind, y)
		}
	}
	return nil
}

// contestant is one side and what it did in each round.
type contestant struct {
	process *process
	rounds  []reply
}

func (c *contestant) turn(steps int) error {
	r, err := c.process.steps(steps)
	c.rounds = append(c.rounds, r)
	return err
}

func (c *contestant) last() reply { return c.rounds[len(c.rounds)-1] }

// side sums the rounds up.
func (c *contestant) side() Side {
	var seconds []float64
	var alloc float64
	for _, r := range c.rounds {
		seconds = append(seconds, r.Seconds...)
		alloc += float64(r.Alloc)
	}
	typical := median(seconds)
	return Side{
		TokensPerSecond: float64(c.process.ready.Tokens) / typical,
		GFLOPs:          c.process.ready.FLOPs / typical / 1e9,
		Seconds:         typical,
		SecondsMin:      slices.Min(seconds),
		SecondsMax:      slices.Max(seconds),
		AllocBytes:      alloc / float64(len(seconds)),
		MemoryBytes:     c.last().Peak,
		Loss:            c.last().Losses[len(c.last().Losses)-1],
	}
}

// summarize makes the result of our side and a peer.
func summarize(o TrainOptions, w workload, us, peer *contestant) Result {
	var ratios []float64
	for i := range us.rounds {
		ratios = append(ratios, median(peer.rounds[i].Seconds)/median(us.rounds[i].Seconds))
	}
	kind, our, their := peer.process.kind, us.side(), peer.side()
	t := &Training{
		Side: our, Theirs: map[string]Side{kind: their},
		PeersMin: map[string]float64{kind: slices.Min(ratios)},
		PeersMax: map[string]float64{kind: slices.Max(ratios)},
		Rounds:   o.Rounds, Steps: o.Steps, Threads: o.Threads,
	}
	if our.MemoryBytes > 0 && their.MemoryBytes > 0 {
		t.MemoryOfPeers = map[string]float64{kind: float64(our.MemoryBytes) / float64(their.MemoryBytes)}
	}
	return Result{
		Suite: "train", Name: w.Name(), Value: our.TokensPerSecond, Unit: "tokens/s",
		Peers: map[string]float64{kind: median(ratios)}, Training: t,
	}
}

// median is the middle value, or the mean of the middle two.
func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	n := len(x)
	return (x[(n-1)/2] + x[n/2]) / 2
}
