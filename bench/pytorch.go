package bench

import (
	"context"
	_ "embed" // for the script
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed python/pytorch.py
var torchScript string

// pythons are where a Python may be found. A test replaces them.
var pythons = []string{"python3", "/usr/bin/python3"}

// findTorch returns the first Python that can import torch, empty if there is
// none.
func findTorch(ctx context.Context) string { return findPython(ctx, "import torch") }

// findPython returns the first Python that can run a program.
func findPython(ctx context.Context, program string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, name := range pythons {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		cmd := exec.CommandContext(ctx, path, "-c", program)
		cmd.Env = torchEnvironment(1)
		group(cmd)
		if cmd.Run() == nil {
			return path
		}
	}
	return ""
}

// torch is PyTorch on the given Python.
func torch(python string) peer {
	return peer{pytorch, learnt, func(ctx context.Context, o TrainOptions, w workload) (source, error) {
		p, err := launch(ctx, pytorch, torchEnvironment(o.Threads), o.PeerTimeout, w, python, "-u", "-c", torchScript)
		if err != nil {
			return nil, err
		}
		return p, nil
	}}
}

// torchEnvironment has PyTorch of a distribution that links the system's OpenBLAS
// use the one that shares PyTorch's OpenMP threads. Threads of its own would
// fight them.
func torchEnvironment(threads int) []string {
	env := peerEnvironment(threads)
	if dirs, _ := filepath.Glob("/usr/lib/*/openblas-openmp"); len(dirs) > 0 {
		path := dirs[0]
		if set := os.Getenv("LD_LIBRARY_PATH"); set != "" {
			path += ":" + set
		}
		env = append(env, "LD_LIBRARY_PATH="+path)
	}
	return env
}
