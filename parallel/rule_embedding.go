package parallel

// embedding keeps shards of the ids, and takes a table sharded along its width
// as it is. Where the table is sharded along the vocabulary, every rank looks up
// all ids in its part: the results are parts of a sum.
func embedding(o operands) signature {
	if o.at[1] == Shard(0) {
		return o.with(Partial, Replicate, Shard(0))
	}
	if _, sharded := o.at[0].Dim(); sharded {
		return o.with(o.at[0], o.at[0], Copied)
	}
	if o.at[1] == Shard(1) {
		return o.with(Shard(2), o.at[0], Shard(1))
	}
	return alike(o)
}

// addPosition keeps shards of the batch and the sequence, and of the width
// together with the table's. A rank knows where its part of the sequence starts.
func addPosition(o operands) signature {
	x, table := o.at[0], Copied
	switch {
	case x == Shard(0), x == Shard(1):
	case x == Shard(2):
		table = Shard(1)
	case o.scattersRows(1):
		x = Shard(1)
	default:
		return alike(o)
	}
	sig := o.with(x, x, table)
	if len(sig.in) == 3 {
		sig.in[2] = Replicate
	}
	return sig
}

// crossEntropy makes a part of the loss of each shard of positions, and of each
// part of the vocabulary, see addDenominators.
func crossEntropy(o operands) signature {
	if _, sharded := o.at[0].Dim(); !sharded {
		return alike(o)
	}
	sig := o.with(Partial, o.at[0], Replicate)
	if _, ok := o.leading(1); ok {
		sig.in[1] = o.at[0]
	}
	return sig
}
