package tape

import (
	"errors"
	"fmt"

	G "gorgonia.org/gorgonia"
)

// Model is a GPT on a TapeMachine, with one micro-batch of data.
type Model struct {
	config    Config
	params    []*param
	learned   G.Nodes // the nodes of params
	tokens    []int
	targets   []float32 // [N, V]
	loss      *G.Node
	machine   G.VM
	optimizer G.Solver
}

// Adam are the optimizer's constants.
type Adam struct {
	Rate, Beta1, Beta2, Eps float64
}

// New builds and compiles a model whose parameters are all 0. It must be
// closed.
func New(c Config, adam Adam) (*Model, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	m := &Model{
		config: c, tokens: make([]int, c.rows()), targets: make([]float32, c.rows()*c.Vocab),
		optimizer: G.NewAdamSolver(G.WithLearnRate(adam.Rate), G.WithBeta1(adam.Beta1), G.WithBeta2(adam.Beta2), G.WithEps(adam.Eps)),
	}
	positions := make([]int, c.rows())
	for i := range positions {
		positions[i] = i % c.Seq
	}
	e := &expr{graph: G.NewGraph()}
	m.loss = e.gpt(c,
		e.data("tokens", m.tokens, c.rows()),
		e.data("positions", positions, c.rows()),
		e.data("targets", m.targets, c.rows(), c.Vocab),
		e.data("mask", causalMask(c), c.Batch*c.Heads, c.Seq, c.Seq))
	if e.err != nil {
		return nil, e.err
	}
	m.params = e.params
	for _, p := range m.params {
		m.learned = append(m.learned, p.node)
	}
	if _, err := G.Grad(m.loss, m.learned...); err != nil {
		return nil, fmt.Errorf("tape: differentiating: %w", err)
	}
	m.machine = G.NewTapeMachine(e.graph, G.BindDualValues(m.learned...))
	return m, nil
}

// Feed sets the tokens and targets, each [B, T] and inside the vocabulary. The
// loss is the mean cross-entropy.
func (m *Model) Feed(tokens, targets []int32) error {
	rows, vocab := m.config.rows(), m.config.Vocab
	if len(tokens) != rows || len(targets) != rows {
		return fmt.Errorf("tape: %d tokens and %d targets, needs %d of each", len(tokens), len(targets), rows)
	}
	clear(m.targets)
	for i, t := range tokens {
		target := targets[i]
		if t < 0 || int(t) >= vocab || target < 0 || int(target) >= vocab {
			return fmt.Errorf("tape: token %d or target %d at %d is outside the vocabulary of %d", t, target, i, vocab)
		}
		m.tokens[i] = int(t)
		m.targets[i*vocab+int(target)] = 1 / float32(rows)
	}
	return nil
}

// Backward runs the model forward and backward.
func (m *Model) Backward() error {
	for _, p := range m.params {
		clear(p.grad()) // the machine adds to what is there
	}
	m.machine.Reset()
	if err := m.machine.RunAll(); err != nil {
		return fmt.Errorf("tape: %w", err)
	}
	return nil
}

// Update is a step of Adam by the gradients of the last Backward.
func (m *Model) Update() error {
	if err := m.optimizer.Step(G.NodesToValueGrads(m.learned)); err != nil {
		return fmt.Errorf("tape: update: %w", err)
	}
	return nil
}

// Loss returns the loss of the last Backward.
func (m *Model) Loss() (float64, error) {
	if v := m.loss.Value(); v != nil {
		if loss, ok := v.Data().(float32); ok {
			return float64(loss), nil
		}
	}
	return 0, errors.New("tape: there is no loss before Backward")
}

// Close frees the machine.
func (m *Model) Close() error { return m.machine.Close() }
