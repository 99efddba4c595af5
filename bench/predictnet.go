package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/galvani-ml/galvani/comm"
)

// predictChildKind names the child that compares within a network of its own.
const predictChildKind = "predict"

// predictShaped compares within networks of the given rates, one after the other.
// Each is a network namespace, whose loopback is shaped, of a child process: it is
// gone when the child is. Where that is not permitted, it is told and left out.
func predictShaped(ctx context.Context, o PredictOptions, stdout io.Writer) error {
	for _, rate := range o.LinkRates {
		if err := checkShaping(ctx, rate); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			fmt.Fprintf(o.Log, "bench: skipping the network of %s: %v\n", rate, err)
			continue
		}
		inside := o
		inside.LinkRates, inside.Network, inside.Log = nil, rate, nil
		inside.Collectives = cmp.Or(o.Collectives, string(comm.TCP))
		if err := predictWithin(ctx, inside, o.Log, stdout); err != nil {
			return err
		}
	}
	return nil
}

// predictWithin runs the child. It ends with its input, so with this process at
// the latest.
func predictWithin(ctx context.Context, o PredictOptions, log, stdout io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("bench: finding this program: %w", err)
	}
	cmd := exec.Command(self, "bench-child", predictChildKind)
	cmd.Stdout, cmd.Stderr = stdout, log
	inNetwork(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("bench: starting within a network of %s: %w", o.Network, err)
	}
	stop := context.AfterFunc(ctx, func() { in.Close() })
	defer stop()
	err = json.NewEncoder(in).Encode(o)
	if ended := cmd.Wait(); ended != nil {
		err = ended
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("bench: within a network of %s: %w; see what it printed", o.Network, err)
	}
	return nil
}

// predictChild is the child: it shapes the network that it is in and compares.
// Options come first in its input, whose end stops it.
func predictChild(stdin io.Reader, stdout io.Writer) error {
	var o PredictOptions
	in := json.NewDecoder(stdin)
	if err := in.Decode(&o); err != nil {
		return fmt.Errorf("bench: reading options: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in.Buffered()) // nothing more is sent
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	if err := shape(ctx, o.Network); err != nil {
		return err
	}
	o.Log = os.Stderr
	return Predict(ctx, o, stdout)
}

// shape limits the loopback of the network namespace that this process is in.
func shape(ctx context.Context, rate string) error {
	commands, err := shaping(rate)
	if err != nil {
		return err
	}
	for _, words := range commands {
		if out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("bench: %s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// checkShaping says why a network cannot be shaped here, by trying it in one that
// is gone at once.
func checkShaping(ctx context.Context, rate string) error {
	commands, err := shaping(rate)
	if err != nil {
		return err
	}
	var lines []string
	for _, words := range commands {
		if _, err := exec.LookPath(words[0]); err != nil {
			return fmt.Errorf("%s is not installed (package iproute2)", words[0])
		}
		lines = append(lines, strings.Join(words, " "))
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", strings.Join(lines, " && "))
	inNetwork(cmd)
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("a network namespace is not permitted here: %w: be root, or have CAP_SYS_ADMIN and CAP_NET_ADMIN", err)
	case err != nil:
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// shaping are the commands that limit a loopback by a token bucket: as Linux has
// it, all that any process sends goes through it.
func shaping(rate string) ([][]string, error) {
	bits, err := parseRate(rate)
	if err != nil {
		return nil, err
	}
	burst := max(128<<10, bits/20000) // at least two of the largest packets, and what goes in a tick of the clock
	return [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", fmt.Sprintf("%dbit", bits), "burst", strconv.FormatInt(burst, 10), "latency", "100ms"},
	}, nil
}

// parseRate reads bits a second, as 10Gbps.
func parseRate(text string) (int64, error) {
	units := []string{"bps", "Kbps", "Mbps", "Gbps"}
	digits := strings.TrimRight(text, "GKMbps")
	unit := slices.Index(units, text[len(digits):])
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || unit < 0 || !(n > 0) {
		return 0, fmt.Errorf("bench: link rate %q: write it as 1Gbps or 500Mbps", text)
	}
	for range unit {
		n *= 1000
	}
	if n < 1e6 || n > 1e12 {
		return 0, fmt.Errorf("bench: link rate %q: must be from 1Mbps to 1000Gbps", text)
	}
	return int64(n), nil
}
