package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// peer is a way to make one side of a contest.
type peer struct {
	name   string
	losses losses
	// open makes the side. What it returns must be closed.
	open func(ctx context.Context, o TrainOptions, w workload) (source, error)
}

// losses say what the losses of a side must be.
type losses int

const (
	equal  losses = iota // ours, step by step: parameters and data are the same
	learnt               // near ln V at first, then less: parameters of its own
	untold               // there are none
)

// source runs the steps of one side.
type source interface {
	// steps runs n.
	steps(n int) (reply, error)
	// version says what it is; empty if the name tells.
	version() string
	close() error
}

// self is this program again, as a child of the given kind.
func self(kind string) peer {
	return peer{kind, equal, func(ctx context.Context, o TrainOptions, w workload) (source, error) {
		program, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("bench: finding this program to run it as %s: %w", kind, err)
		}
		env := append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", o.Threads))
		p, err := launch(ctx, kind, env, o.PeerTimeout, w, program, "bench-child", kind)
		if err != nil {
			return nil, err
		}
		p.limit = kind == ours
		return p, nil
	}}
}

// plain is this program again, in fp32.
func plain() peer {
	p := self(ours)
	open := p.open
	return peer{ours + "-fp32", learnt, func(ctx context.Context, o TrainOptions, w workload) (source, error) {
		w.Precision = ""
		return open(ctx, o, w)
	}}
}

// usual is this program again, with the usual passes of the compiler.
func usual() peer {
	p := self(ours)
	open := p.open
	return peer{ours + "-usual", equal, func(ctx context.Context, o TrainOptions, w workload) (source, error) {
		w.DisablePass, w.EnablePass = nil, nil
		return open(ctx, o, w)
	}}
}

// peersOf are the peers of a workload. python has torch, or is empty.
func peersOf(o TrainOptions, w workload, python string) ([]peer, error) {
	names := o.Peers
	gorgonia := w.Label == small.Label && w.Precision == ""
	switch {
	case len(names) == 0 && gorgonia:
		names = []string{theirs}
	case slices.Equal(names, []string{PeersUsual}) && gorgonia:
		names = []string{theirs, pytorch}
	case slices.Equal(names, []string{PeersUsual}):
		names = []string{pytorch}
	}
	var peers []peer
	if w.Precision != "" {
		peers = append(peers, plain())
	}
	if len(w.DisablePass)+len(w.EnablePass) > 0 {
		peers = append(peers, usual())
	}
	if len(names)+len(o.Commands) > 0 && !slices.Equal(names, []string{PeersNone}) && w.Dropout > 0 {
		return nil, fmt.Errorf("bench: peers train without dropout: with it, measure none")
	}
	for _, name := range names {
		switch {
		case name == PeersNone:
		case name == theirs:
			peers = append(peers, self(theirs))
		case name == pytorch && python != "":
			peers = append(peers, torch(python))
		case name == pytorch: // was told to be missing
		default:
			return nil, fmt.Errorf("bench: no peer is named %q: there are %s, %s", name, theirs, pytorch)
		}
	}
	for _, c := range o.Commands {
		peers = append(peers, c.peer())
	}
	return peers, nil
}

// wantsTorch says whether any workload is to meet PyTorch.
func (o TrainOptions) wantsTorch() bool {
	return slices.Contains(o.Peers, pytorch) || slices.Contains(o.Peers, PeersUsual)
}

// peerEnvironment is the environment of programs that are not ours. They run as
// they run best: no variable pins OpenBLAS to kernels of older processors, and
// glibc keeps freed memory instead of taking it from the system in each step.
func peerEnvironment(threads int) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "OPENBLAS_CORETYPE" || name == "OPENBLAS_L2_SIZE"
	})
	const (
		mapped  = 4 << 30   // bytes: less is never mapped for itself
		trimmed = 16 << 30  // bytes: less is not given back
		ahead   = 256 << 20 // bytes taken beyond what is needed
	)
	return append(env,
		fmt.Sprintf("OMP_NUM_THREADS=%d", threads),
		fmt.Sprintf("MALLOC_MMAP_THRESHOLD_=%d", mapped),
		fmt.Sprintf("MALLOC_TRIM_THRESHOLD_=%d", trimmed),
		fmt.Sprintf("MALLOC_TOP_PAD_=%d", ahead))
}

// defaultTimeout is how long a peer may take for a turn.
const defaultTimeout = 10 * time.Minute
