package profile

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/galvani-ml/galvani/internal/atomicfile"
	"github.com/galvani-ml/galvani/internal/inputfile"
	"github.com/galvani-ml/galvani/parallel/cluster"
)

// Result is what [Hardware] found.
type Result struct {
	Cluster *cluster.Cluster
	Path    string // of the file in the cache
	Cached  bool   // it had been measured before
}

// Hardware measures this machine with as many workers as o says, or takes what
// was measured before under the same circumstances: processor, threads, workers,
// server, what o says to measure, and version of this package's measurements. It
// takes some 6 s for 2 workers and 30 s for 4. When ctx ends it stops at once.
func Hardware(ctx context.Context, o Options) (*Result, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	return hardware(ctx, o, o.spec())
}

func hardware(ctx context.Context, o Options, s spec) (*Result, error) {
	k := keyOf(o, s)
	path, err := k.path(o.Cache)
	if err != nil {
		return nil, err
	}
	if !o.Fresh {
		if c, err := load(path, o.Workers); err == nil {
			return &Result{Cluster: c, Path: path, Cached: true}, nil
		}
		// There is none, or it is damaged: what is measured takes its place.
	}
	memory, err := memoryBytes()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	f, err := run(ctx, o, s)
	if err != nil {
		return nil, err
	}
	c := describe(f, k, memory)
	attest(c, k, o.Version, start)
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("profile: what was measured makes no cluster: %w; measure again on an idle machine", err)
	}
	if err := Save(path, c); err != nil {
		return nil, err
	}
	return &Result{Cluster: c, Path: path}, nil
}

// load reads a cluster of as many workers.
func load(path string, workers int) (*cluster.Cluster, error) {
	text, err := inputfile.Read(path, maxFileBytes)
	if err != nil {
		return nil, err
	}
	c, err := cluster.Parse(text)
	if err != nil {
		return nil, err
	}
	if c.Hosts != 1 || c.PerHost != workers {
		return nil, fmt.Errorf("%s: of %d hosts with %d devices, want 1 with %d", path, c.Hosts, c.PerHost, workers)
	}
	return c, nil
}

// Save writes a cluster to a file, whole or not at all.
func Save(path string, c *cluster.Cluster) error { return save(path, c) }

// save writes JSON.
func save(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	err = atomicfile.WriteStream(path, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}
