package parallel

// elementwise keeps any shard. It is not linear, so a partial operand is summed
// first.
func elementwise(o operands) signature {
	if _, sharded := o.at[0].Dim(); sharded {
		return o.with(o.at[0], o.at[0], o.at[0])
	}
	return alike(o)
}

// add keeps shards, and partial sums where both operands are; the second
// operand follows the first. A partial result of a projection so meets a
// replicated residual by an all-reduce, and a sharded one by a reduce-scatter.
func add(o operands) signature {
	x, y := o.at[0], o.at[1]
	_, shardX := x.Dim()
	_, shardY := y.Dim()
	switch {
	case x == y:
		return o.with(x, x, x)
	case x == Copied || y == Copied:
		return alike(o)
	case shardX:
		return o.with(x, x, x)
	case shardY:
		return o.with(y, y, y)
	}
	return alike(o)
}

// dropout keeps x as it is: random numbers are drawn by position in the whole
// tensor, from a state that all ranks have, so ranks with parts of a sum drop
// the same elements of each.
func dropout(o operands) signature { return o.with(o.at[0], o.at[0], Replicate) }

// norm keeps shards of all but the normalised dimension; the gradients of its
// parameters are then partial.
func norm(o operands) signature {
	if _, ok := o.leading(1); ok {
		return o.with(o.at[0], o.at[0], Copied)
	}
	if o.scattersRows(1) {
		return o.with(Shard(1), Shard(1), Copied)
	}
	return alike(o)
}

// addBias shards the bias with x's last dimensions.
func addBias(o operands) signature {
	lead := o.types[0].Dims() - o.types[1].Dims()
	if o.scattersRows(o.types[1].Dims()) {
		return o.with(Shard(1), Shard(1), Copied)
	}
	d, sharded := o.at[0].Dim()
	switch {
	case !sharded:
		return alike(o)
	case d < lead:
		return o.with(o.at[0], o.at[0], Copied)
	}
	return o.with(o.at[0], o.at[0], Shard(d-lead))
}
