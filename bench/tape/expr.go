package tape

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// expr wraps Gorgonia's operations so that a model's mathematics reads as such:
// it remembers the first error, and after it does nothing and returns nil.
type expr struct {
	graph  *G.ExprGraph
	params []*param
	err    error
}

// keep returns n unless there was an error.
func (e *expr) keep(op string, n *G.Node, err error) *G.Node {
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("tape: %s: %w", op, err)
	}
	if e.err != nil {
		return nil
	}
	return n
}

// data adds a leaf over data, float32 or int.
func (e *expr) data(name string, data any, shape ...int) *G.Node {
	v := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
	return G.NodeFromAny(e.graph, v, G.WithName(name))
}

// constant returns a scalar.
func (e *expr) constant(v float32) *G.Node {
	return G.NewConstant(v, G.WithName(fmt.Sprint(v)))
}

func (e *expr) add(a, b *G.Node) *G.Node {
	if e.err != nil {
		return nil
	}
	n, err := G.Add(a, b)
	return e.keep("add", n, err)
}

// times is the elementwise product.
func (e *expr) times(a, b *G.Node) *G.Node {
	if e.err != nil {
		return nil
	}
	n, err := G.HadamardProd(a, b)
	return e.keep("elementwise product", n, err)
}

func (e *expr) scale(a *G.Node, by float32) *G.Node { return e.times(a, e.constant(by)) }

func (e *expr) matmul(a, b *G.Node) *G.Node {
	if e.err != nil {
		return nil
	}
	n, err := G.Mul(a, b)
	return e.keep("matrix product", n, err)
}

// batched is the matrix product of each pair of matrices in a and b.
func (e *expr) batched(a, b *G.Node, transposeB bool) *G.Node {
	if e.err != nil {
		return nil
	}
	n, err := G.BatchedMatMul(a, b, false, transposeB)
	return e.keep("batched matrix product", n, err)
}

// unary applies one of Gorgonia's functions of one node.
func (e *expr) unary(name string, f func(*G.Node) (*G.Node, error), x *G.Node) *G.Node {
	if e.err != nil {
		return nil
	}
	n, err := f(x)
	return e.keep(name, n, err)
}

// broadcast combines a matrix with a vector that is repeated along an axis: 0
// repeats a row for each row, 1 a column for each column.
func (e *expr) broadcast(f func(a, b *G.Node, left, right []byte) (*G.Node, error), matrix, vector *G.Node, axis byte) *G.Node {
	if e.err != nil {
		return nil
	}
	n, err := f(matrix, vector, nil, []byte{axis})
	return e.keep("broadcast", n, err)
}

func (e *expr) reshape(x *G.Node, shape ...int) *G.Node {
	if e.err != nil {
		return nil
	}
	n, err := G.Reshape(x, tensor.Shape(shape))
	return e.keep("reshape", n, err)
}

func (e *expr) transpose(x *G.Node, axes ...int) *G.Node {
	if e.err != nil {
		return nil
	}
	n, err := G.Transpose(x, axes...)
	return e.keep("transpose", n, err)
}

// lookup picks rows of table.
func (e *expr) lookup(table, indices *G.Node) *G.Node {
	if e.err != nil {
		return nil
	}
	n, err := G.ByIndices(table, indices, 0)
	return e.keep("lookup", n, err)
}

// along applies one of Gorgonia's functions that work along axes; along none
// means over all elements.
func (e *expr) along(name string, f func(*G.Node, ...int) (*G.Node, error), x *G.Node, axes ...int) *G.Node {
	if e.err != nil {
		return nil
	}
	n, err := f(x, axes...)
	return e.keep(name, n, err)
}
