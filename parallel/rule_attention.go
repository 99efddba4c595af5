package parallel

import "github.com/galvani-ml/galvani/graph"

// attention runs on shards of the batch and on shards of the heads. Shards of
// the sequence become shards of the heads by an all-to-all, as in Jacobs et al.:
// DeepSpeed Ulysses (2023), or under a RingTable stay, while keys and values go
// around. The mask follows the batch, and is whole along the sequence.
func attention(o operands) signature {
	s, ok := o.spec.(graph.Attention)
	if !ok {
		return alike(o)
	}
	tensors, head := 3, 2
	if s.Packed {
		tensors, head = 1, 3
	}
	for _, p := range o.at[:tensors] {
		switch {
		case p == Shard(0):
			return o.with(p, p, p)
		case p == Shard(1) && o.ring:
			sig := o.with(p, p, p)
			if s.Masked {
				sig.in[tensors] = Replicate
			}
			sig.ring = true
			return sig
		case p == Shard(1), p == Shard(head):
			sig := o.with(Shard(2), Shard(head), Shard(head))
			if s.Masked {
				sig.in[tensors] = Replicate
			}
			return sig
		}
	}
	return alike(o)
}
