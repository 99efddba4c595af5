package bench

import (
	"fmt"

	"github.com/galvani-ml/galvani/bench/tape"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// gorgonia trains on Gorgonia's TapeMachine.
type gorgonia struct {
	workload
	model *tape.Model
}

func newGorgonia(w workload) (Runner, error) {
	if w.Precision != "" {
		return nil, fmt.Errorf("bench: Gorgonia does not compute in %q", w.Precision)
	}
	m, err := tape.New(
		tape.Config{Batch: w.Batch, Seq: w.Seq, Width: w.Width, Heads: w.Heads, Layers: w.Layers, Vocab: w.Vocab, Tied: w.Tied},
		tape.Adam{Rate: learningRate, Beta1: beta1, Beta2: beta2, Eps: epsilon})
	if err != nil {
		return nil, err
	}
	if err := initialize(m, w); err != nil {
		m.Close()
		return nil, err
	}
	return &gorgonia{w, m}, nil
}

// initialize gives m the parameters and the data of w.
func initialize(m *tape.Model, w workload) error {
	declared, err := models.Build(w.config(), models.Options{Batch: w.Batch, Seq: w.Seq})
	if err != nil {
		return err
	}
	params := map[string]*graph.Param{}
	for _, p := range declared.Params {
		params[p.Name] = p
	}
	for name, size := range m.Params {
		p, ok := params[name]
		if !ok || p.Size() != size {
			return fmt.Errorf("bench: the baseline's parameter %s of %d elements is not the model's", name, size)
		}
		values := make([]float32, size)
		models.InitValue(p, seed, values)
		if err := m.SetParam(name, values); err != nil {
			return err
		}
		delete(params, name)
	}
	if len(params) > 0 {
		return fmt.Errorf("bench: the baseline lacks %d of the model's parameters", len(params))
	}
	return m.Feed(w.data())
}

// Step runs forward, backward and, if asked for, Adam.
func (g *gorgonia) Step() (float64, error) {
	if err := g.model.Backward(); err != nil {
		return 0, err
	}
	loss, err := g.model.Loss()
	if err != nil || !g.Update {
		return loss, err
	}
	return loss, g.model.Update()
}

// Close frees the machine.
func (g *gorgonia) Close() error { return g.model.Close() }
