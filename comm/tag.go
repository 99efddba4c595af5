package comm

import (
	"fmt"
	"strings"
)

// Tag names a tensor on the way from one rank to another. Tensors between two
// ranks on the same edge arrive in the order sent, and the receiver must ask for
// them in that order; different edges are independent.
type Tag struct {
	Edge  uint32 // logical edge; below [GroupEdges] for point-to-point use
	Step  uint64 // training step, or the call number of a collective
	Micro uint32 // micro-batch, or the number of elements of a collective
	Op    Op     // what the tensor is part of; zero is point-to-point
	Name  string // name for errors, not sent
}

// GroupEdges is the first edge that belongs to collectives: a [Group] with id i
// uses edge GroupEdges+i.
const GroupEdges uint32 = 1 << 31

// String describes the tag for errors.
func (t Tag) String() string {
	var b strings.Builder
	b.WriteString(t.Op.String())
	if t.Name != "" {
		fmt.Fprintf(&b, " %q", t.Name)
	}
	if t.Edge >= GroupEdges {
		fmt.Fprintf(&b, " group %d call %d elements %d", t.Edge-GroupEdges, t.Step, t.Micro)
	} else {
		fmt.Fprintf(&b, " edge %d step %d micro-batch %d", t.Edge, t.Step, t.Micro)
	}
	return b.String()
}

// same reports whether two tags name the same tensor. Names are not sent.
func (t Tag) same(u Tag) bool {
	t.Name, u.Name = "", ""
	return t == u
}

// Op is the operation that a tensor is part of.
type Op uint8

// The operations.
const (
	OpSend Op = iota // point-to-point
	OpAllReduce
	OpAllGather
	OpReduceScatter
	OpBroadcast
	OpAllToAll
	OpBarrier
	OpExchange
	OpRotate
)

var opNames = [...]string{"tensor", "all-reduce", "all-gather", "reduce-scatter", "broadcast", "all-to-all", "barrier", "exchange", "rotate"}

// String returns the name of the operation in the field's terms.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return fmt.Sprintf("operation %d", uint8(o))
}

// DType is the type of the elements of a message.
type DType uint8

// The types there are.
const (
	Float32 DType = 1
	Bytes   DType = 2
)

// String returns the name of the type.
func (d DType) String() string {
	switch d {
	case Float32:
		return "float32"
	case Bytes:
		return "bytes"
	}
	return fmt.Sprintf("dtype %d", uint8(d))
}
