package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// PeerCommand is a program of the user's that measures the same workload. It runs once
// a round, by sh, and prints tokens a second: the last number that tok/s,
// tokens/s or tokens/sec follows, or else a last line that is but a number. The
// environment tells the workload: GALVANI_BENCH_BATCH, _SEQ, _LAYERS, _WIDTH,
// _HEADS, _VOCAB, _TIED (0 or 1), _UPDATE (0 or 1), _STEPS and _THREADS.
type PeerCommand struct{ Name, Command string }

// ParsePeerCommand reads NAME=COMMAND.
func ParsePeerCommand(text string) (PeerCommand, error) {
	name, command, ok := strings.Cut(text, "=")
	if !ok || strings.TrimSpace(name) == "" || strings.TrimSpace(command) == "" {
		return PeerCommand{}, fmt.Errorf("bench: peer %q: write NAME=COMMAND", text)
	}
	switch name {
	case ours, theirs, pytorch:
		return PeerCommand{}, fmt.Errorf("bench: peer %q: the name %s is taken", text, name)
	}
	return PeerCommand{name, command}, nil
}

func (c PeerCommand) peer() peer {
	return peer{c.Name, untold, func(ctx context.Context, o TrainOptions, w workload) (source, error) {
		return &command{c, ctx, o, w}, nil
	}}
}

// command runs the program once for any number of steps.
type command struct {
	PeerCommand
	ctx context.Context
	o   TrainOptions
	w   workload
}

func (c *command) version() string { return "" }
func (c *command) close() error    { return nil }

func (c *command) steps(int) (reply, error) {
	ctx, cancel := context.WithCancel(c.ctx)
	if c.o.PeerTimeout > 0 {
		ctx, cancel = context.WithTimeout(c.ctx, c.o.PeerTimeout)
	}
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", "-c", c.Command)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.environment(), &out, &out
	group(cmd)
	err := cmd.Run()
	if cmd.Process != nil {
		_ = killGroup(cmd) // fails where nothing is left
	}
	if c.ctx.Err() != nil {
		return reply{}, context.Cause(c.ctx)
	}
	if ctx.Err() != nil {
		return reply{}, c.failed(fmt.Errorf("not done within %v", c.o.PeerTimeout), out.Bytes())
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return reply{}, c.failed(err, out.Bytes())
	}
	rate, err := tokensPerSecond(out.String())
	if err != nil {
		return reply{}, c.failed(err, out.Bytes())
	}
	return reply{Seconds: []float64{float64(c.w.Tokens()) / rate}, Peak: largestOf(cmd.ProcessState)}, nil
}

func (c *command) failed(err error, printed []byte) error {
	if printed = bytes.TrimSpace(printed); len(printed) > 0 {
		return fmt.Errorf("bench: peer %s: %w; it printed last: %s", c.Name, err, tail(printed))
	}
	return fmt.Errorf("bench: peer %s: %w; it printed nothing", c.Name, err)
}

func (c *command) environment() []string {
	env := peerEnvironment(c.o.Threads)
	for _, v := range []struct {
		name  string
		value int
	}{
		{"BATCH", c.w.Batch}, {"SEQ", c.w.Seq}, {"LAYERS", c.w.Layers}, {"WIDTH", c.w.Width}, {"HEADS", c.w.Heads}, {"VOCAB", c.w.Vocab},
		{"TIED", number(c.w.Tied)}, {"UPDATE", number(c.w.Update)}, {"STEPS", c.o.Steps}, {"THREADS", c.o.Threads},
	} {
		env = append(env, fmt.Sprintf("GALVANI_BENCH_%s=%d", v.name, v.value))
	}
	return env
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ratePattern is a number with its unit.
var ratePattern = regexp.MustCompile(`([0-9][0-9,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)[ \t]*(?:tok|tokens)/s`)

// tokensPerSecond is the rate that a program printed.
func tokensPerSecond(text string) (float64, error) {
	digits := ""
	if found := ratePattern.FindAllStringSubmatch(text, -1); len(found) > 0 {
		digits = strings.ReplaceAll(found[len(found)-1][1], ",", "")
	} else {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		digits = strings.TrimSpace(lines[len(lines)-1])
	}
	rate, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, errors.New("no number of tokens a second: print one with tok/s, or alone on the last line")
	}
	if !(rate > 0) || math.IsInf(rate, 0) {
		return 0, fmt.Errorf("%s tokens a second is no speed", digits)
	}
	return rate, nil
}
