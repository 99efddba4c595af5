package search

import (
	"fmt"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/parallel"
)

// Paradigm is a way to share a layer among devices: a level of a decision tree.
type Paradigm string

// The paradigms. Galvatron's trees have DP, SDP and TP.
const (
	DP    Paradigm = "dp"    // the batch is split, parameters are copies
	ZeRO1 Paradigm = "zero1" // and optimizer state is sharded
	ZeRO2 Paradigm = "zero2" // and gradients
	SDP   Paradigm = "sdp"   // and parameters: ZeRO-3
	TP    Paradigm = "tp"    // heads, inner width and vocabulary are split
	TPSP  Paradigm = "tp+sp" // TP, with the sequence split between its products
	SP    Paradigm = "sp"    // the sequence is split, heads in attention (Ulysses)
	CP    Paradigm = "cp"    // the sequence is split, keys and values go around
	PP    Paradigm = "pp"    // layers are split: the level of a [Space.Layouts] tree, no level of a strategy
)

// zero returns the stage of ZeRO of a paradigm that splits the batch.
var zero = map[Paradigm]int{DP: 0, ZeRO1: 1, ZeRO2: 2, SDP: 3}

// Role returns what the paradigm shares.
func (p Paradigm) Role() parallel.Role {
	switch p {
	case TP, TPSP:
		return parallel.RoleTP
	case SP:
		return parallel.RoleSP
	case CP:
		return parallel.RoleCP
	case PP:
		return parallel.AxisPP
	}
	return parallel.RoleDP
}

// Level is a level of a decision tree: so many branches at every node.
type Level struct {
	Paradigm Paradigm
	Degree   int
}

// Tree is a decision tree of Galvatron, root first. The paradigm nearest the
// leaves has neighbouring ranks; its papers' code counts levels from the other
// end, which gives the same trees.
type Tree []Level

// String gives the tree as in "sdp:2 tp:4".
func (t Tree) String() string {
	words := make([]string, len(t))
	for i, l := range t {
		words[i] = fmt.Sprintf("%s:%d", l.Paradigm, l.Degree)
	}
	return strings.Join(words, " ")
}

// mixed says that two levels share the same thing in two ways, as DP and SDP.
func (t Tree) mixed() bool {
	for i, l := range t {
		for _, k := range t[:i] {
			if k.Paradigm.Role() == l.Paradigm.Role() {
				return true
			}
		}
	}
	return false
}

// Strategy returns the tree as a strategy, false where it mixes paradigms that
// a strategy cannot.
func (t Tree) Strategy() (parallel.Strategy, bool) {
	s := parallel.Strategy{DP: 1, TP: 1}
	if t.mixed() || slices.ContainsFunc(t, func(l Level) bool { return l.Paradigm == PP }) {
		return s, false
	}
	var roles []string
	for _, l := range t {
		switch l.Paradigm {
		case TP, TPSP:
			s.TP, s.SequenceParallel = l.Degree, l.Paradigm == TPSP
		case SP:
			s.SP = l.Degree
		case CP:
			s.CP = l.Degree
		default:
			s.DP, s.ZeRO = l.Degree, zero[l.Paradigm]
		}
		roles = append(roles, string(l.Paradigm.Role()))
	}
	if !slices.IsSortedFunc(t, func(a, b Level) int { return rank(a) - rank(b) }) {
		s.Order = parallel.Order(strings.Join(roles, ","))
	}
	return s, true
}

// rank returns the place of a level in the default order.
func rank(l Level) int { return slices.Index(parallel.Roles(), l.Paradigm.Role()) }

// trees lists the trees over paradigms whose degrees, from 2 on, have product
// devices: powers of two where devices is one. Each paradigm is on one level at
// most.
func trees(devices int, paradigms []Paradigm) []Tree {
	if devices == 1 {
		return []Tree{{}}
	}
	var all []Tree
	for i, p := range paradigms {
		rest := slices.Delete(slices.Clone(paradigms), i, i+1)
		for d := 2; d <= devices; d++ {
			if devices%d != 0 {
				continue
			}
			for _, t := range trees(devices/d, rest) {
				all = append(all, append(Tree{{p, d}}, t...))
			}
		}
	}
	return all
}
