package graph

import (
	"fmt"
	"reflect"

	"gonum.org/v1/gonum/graph"
	G "gorgonia.org/gorgonia"
)

// Children returns the operands of n in order, duplicates kept. It is the one
// route Gorgonia exports to them.
func Children(n *G.Node) []*G.Node {
	nodes := graph.NodesOf(n.Graph().From(n.ID()))
	children := make([]*G.Node, len(nodes))
	for i, c := range nodes {
		children[i] = c.(*G.Node)
	}
	return children
}

// Order returns the nodes that roots depend on, operands before users. The
// order depends on the graph alone, not on addresses.
func Order(roots ...*G.Node) []*G.Node {
	var order []*G.Node
	seen := map[*G.Node]bool{}
	var visit func(n *G.Node)
	visit = func(n *G.Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, c := range Children(n) {
			visit(c)
		}
		order = append(order, n)
	}
	for _, r := range roots {
		visit(r)
	}
	return order
}

// IsLeaf reports whether n is an input or a parameter.
func IsLeaf(n *G.Node) bool { return n.Op() == nil }

// IsSum reports whether n is the elementwise sum that Gorgonia adds where
// several gradients meet. Its operation is not exported; this is its public
// face.
func IsSum(n *G.Node) bool {
	b, ok := n.Op().(G.BinaryOp)
	return ok && b.IsBinary() && b.String() == "+ false" && reflect.TypeOf(n.Op()).Name() == "elemBinOp"
}

// TagOf returns the tag of n. A sum of gradients takes the tag of its first
// operand that has one.
func TagOf(n *G.Node) (Tag, bool) {
	if op := OpOf(n); op != nil {
		return op.Tag, true
	}
	if IsSum(n) {
		for _, c := range Children(n) {
			if tag, ok := TagOf(c); ok {
				return tag, true
			}
		}
	}
	return Tag{}, false
}

// Rebuild adds a copy of n's operation over other operands, perhaps in another
// graph and of other sizes: shapes are inferred anew.
func Rebuild(n *G.Node, in ...*G.Node) (*G.Node, error) {
	op := OpOf(n)
	if op == nil {
		return nil, fmt.Errorf("graph: cannot rebuild %v: not an operation of Galvani's", n)
	}
	if s, ok := op.Spec.(SideOutput); ok {
		return Side(in[0], s.K)
	}
	return Apply(op.Spec, op.Tag, in...)
}
