package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/galvani-ml/galvani/internal/inputfile"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/program"
)

// Trial is a training run that is measured, and leaves nothing behind: worker
// processes train as those of [Run] do, but neither evaluate nor save.
type Trial struct {
	setup   *setup
	spec    *Spec
	planned []program.Planned
}

// NewTrial prepares to train a model from scratch as c says, which must give all
// that training needs: no default is filled in but the plan's number of workers.
// The data are tokens, in a .bin file. The workers together use as many threads
// as are given, and each at least one. The trial is to be closed.
func NewTrial(ctx context.Context, model models.Config, c Config, threads int) (_ *Trial, err error) {
	if !isTokens(c.Data) {
		return nil, fmt.Errorf("trial: data %q: must be a .bin of tokens", c.Data)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	t := &Trial{setup: &setup{config: c, model: model, say: func(string, string, ...any) {}}}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	if err := errors.Join(t.setup.choosePlan(ctx), t.setup.openData(ctx)); err != nil {
		return nil, err
	}
	if t.spec, err = t.setup.spec(); err != nil {
		return nil, err
	}
	t.spec.Trial, t.spec.Threads = true, max(1, threads/t.Workers())
	t.planned, err = planMemory(t.spec)
	return t, err
}

// Plan is what the trial trains under.
func (t *Trial) Plan() *parallel.Plan { return t.setup.plan }

// Workers is the number of worker processes.
func (t *Trial) Workers() int { return t.setup.config.Workers }

// Threads is the number of threads of each worker.
func (t *Trial) Threads() int { return t.spec.Threads }

// Planned is the memory that the largest worker is planned to take, in bytes.
func (t *Trial) Planned() int64 {
	most := largest(t.planned)
	return most.Total()
}

// Run trains from the first step to the last, and returns what each reported. It
// may run again. When ctx ends it stops at once.
func (t *Trial) Run(ctx context.Context) (_ []Metrics, err error) {
	dir, err := os.MkdirTemp("", "galvani-trial-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	spec := *t.spec
	spec.Out = dir
	spec.Config.Metrics = filepath.Join(dir, metricsName)
	j := &job{setup: t.setup, spec: &spec, progress: newProgress(io.Discard, 0, spec.Config.Steps), planned: t.planned}
	if _, err := j.run(ctx); err != nil {
		return nil, err
	}
	return readMetrics(spec.Config.Metrics)
}

// Close closes the data.
func (t *Trial) Close() { t.setup.close() }

// readMetrics reads a metrics file.
func readMetrics(path string) ([]Metrics, error) {
	text, err := inputfile.Read(path, maxMetricsBytes)
	if err != nil {
		return nil, err
	}
	var all []Metrics
	for lines := json.NewDecoder(bytes.NewReader(text)); ; {
		var m Metrics
		switch err := lines.Decode(&m); {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%s: step %d: %w", path, len(all)+1, err)
		}
		all = append(all, m)
	}
}
