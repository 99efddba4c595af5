package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
)

// GradientError is an operation without gradient between a parameter and the
// loss.
type GradientError struct {
	Tag  Tag
	Spec Spec
}

// Error says what to implement.
func (e *GradientError) Error() string {
	if _, ok := e.Spec.(SideOutput); ok {
		return fmt.Sprintf("%v: a side output has no gradient: only gradients may read it", e.Tag)
	}
	return fmt.Sprintf("%v: %s has no gradient: let %T implement graph.Differentiable", e.Tag, e.Spec.Kind(), e.Spec)
}

// checkDifferentiable finds an operation without gradient where outs depend on
// one of wrt through it. Gorgonia would take it for a constant.
func checkDifferentiable(outs, wrt []*G.Node) error {
	depends := map[*G.Node]bool{}
	for _, n := range wrt {
		depends[n] = true
	}
	order := Order(outs...)
	for _, n := range order {
		for _, c := range Children(n) {
			depends[n] = depends[n] || depends[c]
		}
	}
	reached := map[*G.Node]bool{}
	for _, n := range outs {
		reached[n] = true
	}
	for i := len(order) - 1; i >= 0; i-- {
		n := order[i]
		op := OpOf(n)
		if op == nil || !reached[n] || !depends[n] {
			continue
		}
		d, ok := op.Spec.(Differentiable)
		if !ok {
			return &GradientError{Tag: op.Tag, Spec: op.Spec}
		}
		children := Children(n)
		for k, wrt := range d.Wrt(len(children)) {
			if wrt {
				reached[children[k]] = true
			}
		}
	}
	return nil
}
