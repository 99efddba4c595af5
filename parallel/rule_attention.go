package parallel

import "github.com/galvani-ml/galvani/graph"

// attention runs on shards of the batch and on shards of the heads. Shards of
// the sequence become shards of the heads by an all-to-all, as in Jacobs et al.:
// DeepSpeed Ulysses (2023). The mask follows the batch.
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
		switch p {
		case Shard(0):
			return o.with(p, p, p)
		case Shard(1), Shard(head):
			sig := o.with(Shard(2), Shard(head), Shard(head))
			if s.Masked {
				sig.in[tensors] = Replicate
			}
			return sig
		}
	}
	return alike(o)
}
