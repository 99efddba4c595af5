package cpu

import (
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// epilogue is what follows a product. Operands are given by number, noOperand
// where there is none.
type epilogue struct {
	add      int
	function kernel.Function
	slope    bool
	saved    int  // the operand of slope
	keep     bool // result 1 receives what the function is applied to
}

const noOperand = noBias

// bind gives e its memory.
func (e *epilogue) bind(k *kernel.Epilogue, args *exec.Args) {
	k.Function, k.Slope = e.function, e.slope
	if e.add < len(args.In) {
		k.Add = args.In[e.add]
	}
	if e.saved < len(args.In) {
		k.Saved = args.In[e.saved]
	}
	if e.keep {
		k.Saved, k.C16 = args.Out[1], words(args.Out16, 0)
	}
}

// fused is a product and what is done to its result while that is in cache:
// y = F(x W + b), x W + b + z, dy W^T F'(z), dy W^T + z. A result of the product
// that is needed besides is kept for F only.
func fused(p *kernel.Pool, f exec.Fused, c exec.Call) (*exec.Kernel, error) {
	e := epilogue{add: noOperand, saved: noOperand, keep: len(c.Out) > 1}
	switch then := f.Then.(type) {
	case graph.Activation:
		e.function = functions[then.F].fused
	case graph.ActivationGrad:
		e.function, e.slope, e.saved = functions[then.F].fused, true, f.Operands
	case graph.Add:
		e.add = f.Operands
	}
	unknown := e.function == kernel.Identity && e.add == noOperand
	if unknown || e.slope && f.Operand != 1 || e.keep && (e.slope || e.add != noOperand) {
		return nil, exec.ErrNotFused
	}
	switch s := f.First.(type) {
	case graph.Linear:
		bias := noBias
		if f.Operands > 2 {
			bias = 2
		}
		m, n, k := s.Sizes(c.In[0], c.In[1])
		kernel := alone(product(p, c.Precision, 0, 1, bias, m, n, k, false, s.Transposed, e))
		if e.keep { // where the product adds up
			kernel.Narrows = []int{0}
		}
		return kernel, nil
	case graph.LinearInputGrad:
		m, n, k := graph.Linear(s).Sizes(c.Out[0], c.In[1])
		return alone(product(p, c.Precision, 0, 1, noBias, m, k, n, false, !s.Transposed, e)), nil
	}
	return nil, exec.ErrNotFused
}

// alone keeps a product from adding to its result: what follows it would be
// applied to the sum.
func alone(k *exec.Kernel) *exec.Kernel {
	k.Adds = nil
	return k
}
