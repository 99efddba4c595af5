package exec

import (
	"slices"

	"github.com/galvani-ml/galvani/graph"
)

// Traffic is one exchange of a program with other ranks.
type Traffic struct {
	Kind  string // as "all_reduce"
	Group string // empty for sends and receives
	Ranks int    // of the group; 2 for sends and receives
	Layer int
	Name  string // of the operation or the gradients
	Pass  graph.Pass
	Once  bool // once a step rather than with every micro-batch
	Again bool // of the forward pass, and done again for the backward pass
	// Beside says that instructions stand between the exchange's start and the
	// first that waits for it, so that it runs beside them: gathers of
	// parameters start a layer ahead, sums of gradients end when the step does.
	// Without it the computation waits, as for most all-reduces within a layer.
	Beside bool
	Bytes  int64 // of the whole tensor
	Sent   int64 // what this rank sends of it, around a ring

	shares []Share // nil where one layer has all
}

// Share is what a layer has of an exchange.
type Share struct {
	Layer int
	Bytes int64 // of Traffic.Bytes
}

// Shares says what the exchange moves of each layer: tensors of several that are
// exchanged once a step are joined.
func (t Traffic) Shares() []Share {
	if t.shares == nil {
		return []Share{{t.Layer, t.Bytes}}
	}
	return t.shares
}

// add adds a layer's bytes.
func (t *Traffic) add(layer int, bytes int64) {
	i := slices.IndexFunc(t.shares, func(s Share) bool { return s.Layer == layer })
	if i < 0 {
		i = len(t.shares)
		t.shares = append(t.shares, Share{Layer: layer})
	}
	t.shares[i].Bytes += bytes
}

// Traffic lists the exchanges of a step, in their order: those of the
// instructions, then the sums of gradients. ranks gives the size of a group by
// its name.
func (p *Program) Traffic(ranks func(group string) int) []Traffic {
	var all []Traffic
	for i, pass := range [][]*step{p.prologue, p.forward, p.backward, p.epilogue} {
		for _, s := range pass {
			if s.exchange == nil {
				continue
			}
			t := s.traffic
			t.Pass, t.Once, t.Again = p.kinds[s.kind].pass, i == 0 || i == 3, s.tag.Recompute
			t.Beside = p.beside && !s.next
			if i == 3 {
				t.Beside = s.early // what is left is waited for by the update
			}
			all = append(all, t)
		}
	}
	for _, b := range p.buckets {
		for i, group := range b.groups {
			n := ranks(group)
			bytes := int64(b.to-b.from) * elementBytes
			t := Traffic{
				Kind: (graph.AllReduce{}).Kind(), Group: group, Ranks: n, Layer: b.shards[0].Param.Layer, Name: b.name,
				Pass: graph.Backward, Once: true, Beside: p.beside && i < b.early, Bytes: bytes, Sent: 2 * ringShare(bytes, n),
			}
			for _, s := range b.shards {
				t.add(s.Param.Layer, int64(aligned(s.size))*elementBytes)
			}
			all = append(all, t)
		}
	}
	return all
}

// joinedTraffic describes calls that are exchanged as one.
func joinedTraffic(calls []Call) Traffic {
	t := trafficOf(calls[0])
	t.add(t.Layer, t.Bytes)
	for _, call := range calls[1:] {
		more := trafficOf(call)
		t.Bytes, t.Sent = t.Bytes+more.Bytes, t.Sent+more.Sent
		t.add(more.Layer, more.Bytes)
	}
	return t
}

// ringShare is what passes a link of a ring of n ranks once around.
func ringShare(bytes int64, n int) int64 { return bytes * int64(n-1) / int64(max(1, n)) }

// trafficOf describes the exchange that call is.
func trafficOf(call Call) Traffic {
	size := func(types []graph.Type) int64 {
		if len(types) == 0 {
			return 0
		}
		return int64(types[0].Size()) * elementBytes
	}
	t := Traffic{Kind: call.Spec.Kind(), Ranks: 2, Layer: call.Tag.Layer, Name: call.Tag.Name, Bytes: size(call.In)}
	if c, ok := call.Spec.(graph.Collective); ok {
		t.Group, t.Ranks = c.Group().Name, c.Group().Size
	}
	switch call.Spec.(type) {
	case graph.AllReduce:
		t.Sent = 2 * ringShare(t.Bytes, t.Ranks)
	case graph.AllGather:
		t.Bytes = size(call.Out)
		t.Sent = ringShare(t.Bytes, t.Ranks)
	case graph.ReduceScatter, graph.AllToAll:
		t.Sent = ringShare(t.Bytes, t.Ranks)
	case graph.Recv:
		t.Bytes = size(call.Out)
	default: // rotations and sends
		t.Sent = t.Bytes
	}
	return t
}
