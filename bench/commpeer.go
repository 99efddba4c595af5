package bench

import (
	"context"
	_ "embed" // for the scripts
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

//go:embed python/mpi.py
var mpiScript string

//go:embed python/gloo.py
var glooScript string

// The peers of the suite comm.
const (
	openMPI = "openmpi"
	gloo    = "gloo"
)

// commPeer is a way to run collectives on another program.
type commPeer struct {
	name    string
	ops     []string
	command func(ranks int) []string
	env     []string
}

// findCommPeers returns the peers that are installed, and says of the others why
// they are left out.
func findCommPeers(ctx context.Context, o CommOptions) []commPeer {
	if !o.Peers {
		return nil
	}
	var peers []commPeer
	skip := func(name, why string) {
		if o.Log != nil {
			fmt.Fprintf(o.Log, "bench: going on without the peer %s: %s\n", name, why)
		}
	}
	if python := findPython(ctx, "import ctypes; ctypes.CDLL('libmpi.so.40')"); python == "" {
		skip(openMPI, "no python3 here finds libmpi.so.40, of Debian's openmpi-bin")
	} else if mpirun, err := exec.LookPath("mpirun"); err != nil {
		skip(openMPI, "there is no mpirun, of Debian's openmpi-bin")
	} else {
		peers = append(peers, commPeer{
			name: openMPI, ops: CommOps(),
			// It refuses to run as root, or more ranks than processors, unless told otherwise.
			env: append(os.Environ(), "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"),
			command: func(ranks int) []string {
				return []string{mpirun, "--oversubscribe", "-n", strconv.Itoa(ranks), python, "-u", "-c", mpiScript}
			},
		})
	}
	if python := findTorch(ctx); python == "" {
		skip(gloo, "no python3 here can import torch, of Debian's python3-torch")
	} else {
		peers = append(peers, commPeer{
			name: gloo, ops: []string{opAllReduce, opAllGather}, env: torchEnvironment(1),
			command: func(ranks int) []string { return []string{python, "-u", "-c", glooScript, strconv.Itoa(ranks)} },
		})
	}
	return peers
}

// open starts the peer.
func (p commPeer) open(ctx context.Context, ranks int) (world, error) {
	process, err := start(ctx, p.name, p.env, defaultTimeout, p.command(ranks)...)
	if err != nil {
		return nil, err
	}
	return peerWorld{process}, nil
}

// peerWorld is a peer whose rank 0 speaks for all.
type peerWorld struct{ *process }

func (w peerWorld) run(q collective) (collectiveReply, error) {
	var r collectiveReply
	err := w.ask(q, &r)
	if err == nil && len(r.Seconds) != q.Repetitions {
		err = fmt.Errorf("bench: %s was asked for %d repetitions and reports %d", w.name, q.Repetitions, len(r.Seconds))
	}
	return r, err
}
