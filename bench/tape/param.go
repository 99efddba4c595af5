package tape

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// param is a learned matrix or vector: one of parts of a tensor of GPT-2's
// checkpoints. Its element [i, j] is element first + i*row + j*column there.
type param struct {
	stored             string // name of the tensor
	parts              int
	node               *G.Node
	value              []float32 // of node
	rows, columns      int
	first, row, column int
}

// param adds a parameter that is laid out as in checkpoints.
func (e *expr) param(name string, shape ...int) *G.Node { return e.part(name, 0, 1, shape...) }

// part adds a parameter that is the k-th of n equal groups of columns.
func (e *expr) part(name string, k, n int, shape ...int) *G.Node {
	columns := shape[len(shape)-1]
	return e.learn(&param{stored: name, parts: n, columns: columns, first: k * columns, row: n * columns, column: 1}, shape)
}

// transposed adds a parameter that checkpoints hold as its transpose.
func (e *expr) transposed(name string, rows, columns int) *G.Node {
	return e.learn(&param{stored: name, parts: 1, columns: columns, row: 1, column: rows}, []int{rows, columns})
}

// learn adds the node of p, all 0.
func (e *expr) learn(p *param, shape []int) *G.Node {
	p.value = make([]float32, tensor.Shape(shape).TotalSize())
	p.rows = len(p.value) / p.columns
	p.node = e.data(fmt.Sprintf("%s@%d", p.stored, p.first), p.value, shape...)
	e.params = append(e.params, p)
	return p.node
}

// load copies the parameter out of the stored tensor.
func (p *param) load(stored []float32) {
	for i := range p.rows {
		for j := range p.columns {
			p.value[i*p.columns+j] = stored[p.first+i*p.row+j*p.column]
		}
	}
}

// grad returns the gradient, nil before the first run.
func (p *param) grad() []float32 {
	v, err := p.node.Grad()
	if err != nil || v == nil {
		return nil
	}
	grad, _ := v.Data().([]float32)
	return grad
}

// storeGrad copies the gradient to where the parameter is in the stored tensor.
func (p *param) storeGrad(stored []float32) error {
	grad := p.grad()
	if grad == nil {
		return fmt.Errorf("tape: %s has no gradient before Backward", p.stored)
	}
	for i := range p.rows {
		for j := range p.columns {
			stored[p.first+i*p.row+j*p.column] = grad[i*p.columns+j]
		}
	}
	return nil
}

// Params yields the name and number of elements of each parameter as
// checkpoints of GPT-2 have them.
func (m *Model) Params(yield func(name string, size int) bool) {
	for _, p := range m.params {
		if p.first == 0 && !yield(p.stored, p.parts*len(p.value)) {
			return
		}
	}
}

// SetParam sets a parameter to values, laid out as in checkpoints.
func (m *Model) SetParam(name string, values []float32) error {
	parts, err := m.parts(name, values)
	if err != nil {
		return err
	}
	for _, p := range parts {
		p.load(values)
	}
	return nil
}

// Grad copies a parameter's gradient, as the last Backward left it, to dst,
// laid out as the parameter is in checkpoints. Update destroys gradients.
func (m *Model) Grad(name string, dst []float32) error {
	parts, err := m.parts(name, dst)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := p.storeGrad(dst); err != nil {
			return err
		}
	}
	return nil
}

// parts returns the parameters that hold the stored tensor, whose elements are
// to be in values.
func (m *Model) parts(name string, values []float32) ([]*param, error) {
	var parts []*param
	for _, p := range m.params {
		if p.stored == name {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("tape: no parameter is named %q", name)
	}
	if want := len(parts) * len(parts[0].value); len(values) != want {
		return nil, fmt.Errorf("tape: %s has %d elements, given were %d", name, want, len(values))
	}
	return parts, nil
}
