package profile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/cpu/probe"
	"github.com/galvani-ml/galvani/internal/inputfile"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/train/program"
)

// LayerOptions say what layers to measure.
type LayerOptions struct {
	Program program.Options
	Threads int // of a worker
	Copies  int // workers that compute at the same time
	// Shapes are the ways that ranks split a layer, without dp, ZeRO and
	// checkpointing: those compute the same.
	Shapes []parallel.Strategy
	Rows   []int // sequences of a rank
	Fresh  bool  // measure even if there is a result
	Cache  string
	Say    func(name, text string)
}

// Layers is what the computation of a model's layers takes on this machine.
type Layers struct {
	Schema   string        `json:"schema"`
	Measured string        `json:"measured"` // when last, RFC 3339
	On       string        `json:"on"`
	Seconds  float64       `json:"seconds"` // that measuring took
	Update   float64       `json:"update_seconds_per_element"`
	Shapes   []LayerShapes `json:"shapes"`
}

// layersRevision is that of how layers are measured. Results of another are
// measured anew.
const layersRevision = 1

// layersSchema names the version of the form.
const layersSchema = "galvani/layers/v1"

// LayerShapes are the times of layers that are split in one way.
type LayerShapes struct {
	Strategy parallel.Strategy `json:"strategy"`
	Points   []LayerPoint      `json:"points"` // by rising rows
}

// LayerPoint is the times for so many sequences of a rank.
type LayerPoint struct {
	Rows      int          `json:"rows"`
	Embedding cost.Seconds `json:"embedding_seconds"`
	Block     cost.Seconds `json:"block_seconds"`
	Head      cost.Seconds `json:"head_seconds"`
}

// layersKey is what a result holds for.
type layersKey struct {
	Revision        int
	Processor, ISA  string
	Model           json.RawMessage
	Seq             int
	Dropout         float64
	Precision       string
	Disable, Enable []exec.Pass
	Threads, Copies int
	Processors      int
}

// MeasureLayers measures the layers of a model. What was measured before under
// the same circumstances is taken from the file at path, and kept there.
func MeasureLayers(ctx context.Context, o LayerOptions) (_ *Layers, path string, err error) {
	model, err := json.Marshal(o.Program.Model)
	if err != nil {
		return nil, "", err
	}
	k := layersKey{
		Revision: layersRevision, Processor: probe.Processor(), ISA: string(kernel.ActiveISA()), Model: model, Seq: o.Program.Seq, Dropout: o.Program.Dropout,
		Precision: o.Program.Precision, Disable: o.Program.Disable, Enable: o.Program.Enable, Threads: o.Threads, Copies: o.Copies,
		Processors: runtime.GOMAXPROCS(0),
	}
	if path, err = cached(o.Cache, "layers", k); err != nil {
		return nil, "", err
	}
	l := &Layers{Schema: layersSchema, On: fmt.Sprintf("%s, %s/%s, %s kernels, %d workers of %d threads at once", k.Processor, runtime.GOOS, runtime.GOARCH, k.ISA, o.Copies, o.Threads)}
	if known, err := LoadLayers(path); err == nil && !o.Fresh {
		l = known // else there is none, or it is damaged: it is replaced
	}
	measured, err := l.measure(ctx, o)
	if err != nil || !measured {
		return l, path, err
	}
	return l, path, l.Save(path)
}

// measure measures what is not known yet, and says whether that was anything.
func (l *Layers) measure(ctx context.Context, o LayerOptions) (measured bool, err error) {
	start := time.Now()
	newBackend := func() (exec.Backend, error) { return cpu.New(o.Threads) }
	for _, shape := range o.Shapes {
		s := l.shape(shape)
		for _, rows := range o.Rows {
			at, known := slices.BinarySearchFunc(s.Points, rows, func(p LayerPoint, n int) int { return p.Rows - n })
			if known {
				continue
			}
			if o.Say != nil {
				o.Say("layers", fmt.Sprintf("%v, %d sequences a worker", shape, rows))
			}
			t, err := program.Measure(ctx, o.Program, shape, rows, o.Copies, newBackend)
			if err != nil {
				return measured, err
			}
			s.Points = slices.Insert(s.Points, at, LayerPoint{rows, cost.Seconds(t.Embedding), cost.Seconds(t.Block), cost.Seconds(t.Head)})
			if l.Update == 0 || t.Update < l.Update {
				l.Update = t.Update
			}
			measured = true
		}
	}
	if measured {
		l.Measured, l.Seconds = start.UTC().Format(time.RFC3339), l.Seconds+time.Since(start).Seconds()
	}
	return measured, nil
}

// shape returns the times of a shape, added if it is new.
func (l *Layers) shape(s parallel.Strategy) *LayerShapes {
	i := slices.IndexFunc(l.Shapes, func(x LayerShapes) bool { return x.Strategy == s })
	if i < 0 {
		i = len(l.Shapes)
		l.Shapes = append(l.Shapes, LayerShapes{Strategy: s})
	}
	return &l.Shapes[i]
}

// maxFileBytes bounds the files of measurements; real ones are of some dozen
// kilobytes.
const maxFileBytes = 16 << 20

// LoadLayers reads a file that [Layers.Save] wrote.
func LoadLayers(path string) (*Layers, error) {
	text, err := inputfile.Read(path, maxFileBytes)
	if err != nil {
		return nil, err
	}
	l, err := parseLayers(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// parseLayers reads what [Layers.Save] wrote.
func parseLayers(text []byte) (*Layers, error) {
	l := &Layers{}
	if err := json.Unmarshal(text, l); err != nil {
		return nil, err
	}
	if l.Schema != layersSchema || len(l.Shapes) == 0 || !(l.Update >= 0) {
		return nil, fmt.Errorf("schema %.100q: no times of layers as this version writes them (%q)", l.Schema, layersSchema)
	}
	for _, s := range l.Shapes {
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("%v: %w", s.Strategy, err)
		}
	}
	return l, nil
}

// check refuses times between which nothing can be interpolated.
func (s *LayerShapes) check() error {
	if len(s.Points) == 0 {
		return errors.New("has no points")
	}
	rows := 0
	for _, p := range s.Points {
		if p.Rows <= rows {
			return fmt.Errorf("%d rows after %d: needs points by rising rows, from 1", p.Rows, rows)
		}
		rows = p.Rows
		for _, t := range []cost.Seconds{p.Embedding, p.Block, p.Head} {
			if !(min(t.Forward, t.Backward) >= 0 && max(t.Forward, t.Backward) <= maxLayerSeconds) {
				return fmt.Errorf("%d rows: %v s forward and %v s backward: needs 0 to %g", p.Rows, t.Forward, t.Backward, float64(maxLayerSeconds))
			}
		}
	}
	return nil
}

// maxLayerSeconds is far more than a layer takes, and so little that what is
// extrapolated stays finite.
const maxLayerSeconds = 1e6

// Save writes the times to a file, whole or not at all.
func (l *Layers) Save(path string) error { return save(path, l) }

// Shape is a strategy without what makes no difference to what a rank computes
// with its rows.
func Shape(s parallel.Strategy) parallel.Strategy {
	s.DP, s.ZeRO, s.Checkpoint, s.Order = 1, 0, false, ""
	s.TP = max(1, s.TP)
	return s
}

// At returns the times of a rank with so many rows under a strategy: between two
// points on the line through them, beyond the last on that of the last two.
// Checkpointing adds the forward pass of blocks to the backward pass.
func (l *Layers) At(s parallel.Strategy, rows int) (LayerPoint, error) {
	shape := Shape(s)
	i := slices.IndexFunc(l.Shapes, func(x LayerShapes) bool { return x.Strategy == shape })
	if i < 0 {
		return LayerPoint{}, fmt.Errorf("profile: no times of layers split by %v: measure again", shape)
	}
	p := between(l.Shapes[i].Points, rows)
	if s.Checkpoint {
		p.Block.Backward += p.Block.Forward
	}
	return p, nil
}

// between interpolates.
func between(points []LayerPoint, rows int) LayerPoint {
	hi := slices.IndexFunc(points, func(p LayerPoint) bool { return p.Rows >= rows })
	switch {
	case hi < 0:
		hi = len(points) - 1
	case points[hi].Rows == rows:
		return points[hi]
	}
	if len(points) == 1 {
		return points[0].scaled(rows)
	}
	hi = max(1, hi)
	a, b := points[hi-1], points[hi]
	x := float64(rows-a.Rows) / float64(b.Rows-a.Rows)
	mix := func(a, b cost.Seconds) cost.Seconds {
		return cost.Seconds{Forward: max(0, a.Forward+x*(b.Forward-a.Forward)), Backward: max(0, a.Backward+x*(b.Backward-a.Backward))}
	}
	return LayerPoint{rows, mix(a.Embedding, b.Embedding), mix(a.Block, b.Block), mix(a.Head, b.Head)}
}

// scaled grows a point with its rows.
func (p LayerPoint) scaled(rows int) LayerPoint {
	x := float64(rows) / float64(p.Rows)
	by := func(s cost.Seconds) cost.Seconds {
		return cost.Seconds{Forward: x * s.Forward, Backward: x * s.Backward}
	}
	return LayerPoint{rows, by(p.Embedding), by(p.Block), by(p.Head)}
}
