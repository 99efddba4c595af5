package parallel

import "github.com/galvani-ml/galvani/graph"

// weightShard says along which dimension a weight is sharded: the index among
// its contracted dimensions, or among the others.
func weightShard(s graph.Linear, w graph.Type, at Placement) (index int, contracted, sharded bool) {
	d, sharded := at.Dim()
	first, second := s.Contract, w.Dims() // where the weight's two groups end
	if s.Transposed {
		first = w.Dims() - s.Contract
	}
	if !sharded || d >= second {
		return 0, false, false
	}
	if d < first {
		return d, !s.Transposed, true
	}
	return d - first, s.Transposed, true
}

// linear follows the weight. Sharded along an output dimension, every rank
// computes some columns from the whole of x. Sharded along a contracted one,
// every rank computes a part of the sum; the bias is added apart, see
// splitsBias. These are the column and row parallel layers of Shoeybi et al.:
// Megatron-LM (2019), section 3. A weight that is not sharded leaves x as it
// is, if it is sharded along rows. If it is sharded along what is contracted
// and the axis splits the batch or the sequence (the weight is Copied), it moves
// to the sequence dimension, as after the attention of Jacobs et al.: DeepSpeed
// Ulysses (2023).
func linear(o operands) signature {
	s, ok := o.spec.(graph.Linear)
	if !ok {
		return alike(o)
	}
	lead := o.types[0].Dims() - s.Contract
	index, contracted, sharded := weightShard(s, o.types[1], o.at[1])
	switch {
	case sharded && contracted:
		return o.with(Partial, Shard(lead+index), o.at[1])
	case sharded:
		sig := o.with(Shard(lead+index), Copied, o.at[1])
		if len(sig.in) == 3 {
			sig.in[2] = Shard(index)
		}
		return sig
	}
	if _, rows := o.leading(s.Contract); rows {
		return o.with(o.at[0], o.at[0], Copied)
	}
	if _, sharded := o.at[0].Dim(); sharded && lead > 1 && o.at[1] == Copied {
		return o.with(Shard(1), Shard(1), Copied)
	}
	return alike(o)
}

// splitsBias reports whether a linear operation results in parts of a sum, so
// that its bias, which counts once, must be added after them.
func splitsBias(spec graph.Spec, types []graph.Type, at []Placement) bool {
	s, ok := spec.(graph.Linear)
	if !ok || len(types) != 3 {
		return false
	}
	_, contracted, sharded := weightShard(s, types[1], at[1])
	return sharded && contracted
}

// matmul keeps shards of the stack, of a's rows and of b's columns, and sums
// parts of a contracted dimension that both operands are sharded along.
func matmul(o operands) signature {
	s, ok := o.spec.(graph.MatMul)
	if !ok {
		return alike(o)
	}
	dims := o.types[0].Dims()
	rowA, innerA := dims-2, dims-1
	innerB, colB := dims-2, dims-1
	if s.TransA {
		rowA, innerA = innerA, rowA
	}
	if s.TransB {
		innerB, colB = colB, innerB
	}
	a, b := o.at[0], o.at[1]
	_, stackA := o.leading(2)
	stackB, shardB := b.Dim()
	switch {
	case stackA:
		return o.with(a, a, a)
	case shardB && stackB < dims-2:
		return o.with(b, b, b)
	case a == Shard(innerA) && b == Shard(innerB):
		return o.with(Partial, a, b)
	case a == Shard(rowA):
		return o.with(Shard(dims-2), a, Copied)
	case b == Shard(colB):
		return o.with(Shard(dims-1), Copied, b)
	}
	return alike(o)
}
