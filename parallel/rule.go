package parallel

import (
	"slices"

	"github.com/galvani-ml/galvani/graph"
)

// operands is what a rule decides by: the operation, the types of its whole
// operands, and where they lie on one axis.
type operands struct {
	spec  graph.Spec
	types []graph.Type
	at    []Placement
	ring  bool // the axis's strategy is a RingTable that asks for it
}

// signature is what a rule decides: the placements the operation needs and the
// one its result then has. A need of Copied says that the gradient of that
// operand is partial.
type signature struct {
	in  []Placement
	out Placement
	// ring says that the ranks of the axis run it as a graph.RingAttention.
	ring bool
}

// rule is how one kind of operation runs on the ranks of an axis. The axes of a
// mesh are independent of each other, so a rule sees one at a time.
type rule func(o operands) signature

// rules holds the rule of each kind of forward operation.
var rules = map[string]rule{
	graph.Activation{}.Kind():   elementwise,
	graph.AddBias{}.Kind():      addBias,
	graph.AddPosition{}.Kind():  addPosition,
	graph.Add{}.Kind():          add,
	graph.Attention{}.Kind():    attention,
	graph.CrossEntropy{}.Kind(): crossEntropy,
	graph.Dropout{}.Kind():      dropout,
	graph.Embedding{}.Kind():    embedding,
	graph.LayerNorm{}.Kind():    norm,
	graph.Linear{}.Kind():       linear,
	graph.MatMul{}.Kind():       matmul,
	graph.RMSNorm{}.Kind():      norm,
}

// alike is the rule that fits every operation: all ranks compute the same. Once
// an operand's gradient is partial, so are the others'.
func alike(o operands) signature {
	p := Replicate
	if slices.Contains(o.at, Copied) {
		p = Copied
	}
	return signature{in: slices.Repeat([]Placement{p}, len(o.at)), out: p}
}

// with gives the signature that needs first for operand 0, rest for the others,
// and results in out.
func (o operands) with(out, first, rest Placement) signature {
	in := slices.Repeat([]Placement{rest}, len(o.at))
	in[0] = first
	return signature{in: in, out: out}
}

// scattersRows reports whether a partial operand 0 becomes shards of its second
// dimension, the sequence, where k last dimensions are the operation's. So it is
// where operand 1, a parameter, is Copied: then the axis splits the batch or the
// sequence, as in Korthikanti et al.: Reducing Activation Recomputation (2022),
// section 4.2.2.
func (o operands) scattersRows(k int) bool {
	return o.at[0] == Partial && o.at[1] == Copied && o.types[0].Dims()-k > 1
}

// leading returns the dimension that operand 0 is sharded along, if that is
// not one of its last k.
func (o operands) leading(k int) (dim int, ok bool) {
	d, sharded := o.at[0].Dim()
	return d, sharded && d < o.types[0].Dims()-k
}
