package parallel

// embedding keeps shards of the ids, and takes a table sharded along its width
// as it is. A table sharded along the vocabulary is joined first.
func embedding(o operands) signature {
	if _, sharded := o.at[0].Dim(); sharded {
		return o.with(o.at[0], o.at[0], Copied)
	}
	if o.at[1] == Shard(1) {
		return o.with(Shard(2), o.at[0], Shard(1))
	}
	return alike(o)
}

// addPosition keeps shards of the batch, and of the width together with the
// table's. A rank does not know where its tokens start, so shards of the
// sequence are joined first.
func addPosition(o operands) signature {
	var table Placement
	switch o.at[0] {
	case Shard(0):
		table = Copied
	case Shard(2):
		table = Shard(1)
	default:
		return alike(o)
	}
	sig := o.with(o.at[0], o.at[0], table)
	if len(sig.in) == 3 {
		sig.in[2] = Replicate
	}
	return sig
}

// crossEntropy makes a part of the loss of each shard of positions. Logits
// sharded along the vocabulary are joined first.
func crossEntropy(o operands) signature {
	if _, ok := o.leading(1); !ok {
		return alike(o)
	}
	sig := o.with(Partial, o.at[0], o.at[0])
	sig.in[2] = Replicate
	return sig
}
