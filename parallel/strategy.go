package parallel

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Role is what the ranks along an axis of the mesh share of a layer.
type Role string

// The roles, in the order of a tree's levels unless [Strategy.Order] says
// otherwise: those with the most traffic last, where ranks are neighbours.
const (
	RoleDP Role = AxisDP // the rows of the batch
	RoleCP Role = AxisCP // the sequence; attention passes keys and values around a ring
	RoleSP Role = AxisSP // the sequence, and in attention the heads
	RoleTP Role = AxisTP // heads, inner width and vocabulary
)

// Roles returns all roles, outermost first.
func Roles() []Role { return []Role{RoleDP, RoleCP, RoleSP, RoleTP} }

// Strategy is how the ranks of a stage share a layer. The product of its
// degrees is the number of ranks of a stage. A degree of 0 is 1.
type Strategy struct {
	DP int `json:"dp"`           // ways the batch is split
	TP int `json:"tp"`           // ways heads, inner width and vocabulary are split
	SP int `json:"sp,omitempty"` // ways the sequence is split, with an exchange for heads around attention (Ulysses)
	CP int `json:"cp,omitempty"` // ways the sequence is split, with ring attention
	// ZeRO says what ranks that hold the same parameters shard: 0 nothing, 1
	// optimizer state, 2 and gradients, 3 and parameters.
	ZeRO int `json:"zero"`
	// Checkpoint recomputes activations in the backward pass.
	Checkpoint bool `json:"checkpoint"`
	// SequenceParallel splits the sequence over the tensor-parallel ranks
	// between their products: Korthikanti et al. (2022).
	SequenceParallel bool  `json:"sequence_parallel,omitempty"`
	Order            Order `json:"order,omitempty"`
}

// Order lists roles, outermost first, separated by commas: which ranks are
// neighbours along which axis. Empty is the order of [Roles]. JSON has a list.
type Order string

// Degree returns the number of ranks that share what the role says.
func (s Strategy) Degree(r Role) int {
	return max(1, map[Role]int{RoleDP: s.DP, RoleCP: s.CP, RoleSP: s.SP, RoleTP: s.TP}[r])
}

// Ranks returns the number of ranks that share the layer.
func (s Strategy) Ranks() int {
	n := 1
	for _, r := range Roles() {
		n *= s.Degree(r)
	}
	return n
}

// normal writes degrees that may be left out one way.
func (s Strategy) normal() Strategy {
	s.DP, s.TP = max(1, s.DP), max(1, s.TP)
	if s.SP == 1 {
		s.SP = 0
	}
	if s.CP == 1 {
		s.CP = 0
	}
	return s
}

// level is a level of a strategy's tree.
type level struct {
	role   Role
	degree int
}

// levels returns the tree's levels of more than one rank, root first.
func (s Strategy) levels() []level {
	order := s.Order.roles()
	if len(order) == 0 {
		order = Roles()
	}
	var levels []level
	for _, r := range order {
		if d := s.Degree(r); d > 1 {
			levels = append(levels, level{r, d})
		}
	}
	return levels
}

// roles splits the list.
func (o Order) roles() []Role {
	var roles []Role
	for name := range strings.SplitSeq(string(o), ",") {
		if o != "" {
			roles = append(roles, Role(name))
		}
	}
	return roles
}

// check checks what must hold for any model. layer is the key of the layer's
// values in errors, empty for the plan's own strategy.
func (s Strategy) check(layer string) error {
	for _, r := range Roles() {
		if d := map[Role]int{RoleDP: s.DP, RoleCP: s.CP, RoleSP: s.SP, RoleTP: s.TP}[r]; d < 0 || d > maxDegree || d == 0 && (r == RoleDP || r == RoleTP) {
			return &ValueError{layer + string(r), fmt.Sprint(d), fmt.Sprintf("must be 1 to %d", maxDegree)}
		}
	}
	if s.ZeRO < 0 || s.ZeRO > 3 {
		return &ValueError{layer + "zero", fmt.Sprint(s.ZeRO), "must be 0, 1, 2 or 3"}
	}
	return s.checkOrder(layer)
}

// checkOrder checks that the order names roles, each once, and all that share
// something.
func (s Strategy) checkOrder(layer string) error {
	if s.Order == "" {
		return nil
	}
	roles := s.Order.roles()
	for i, r := range roles {
		if !slices.Contains(Roles(), r) || slices.Contains(roles[:i], r) {
			return &ValueError{layer + "order", string(s.Order), "must list some of dp, cp, sp, tp, each once, outermost first"}
		}
	}
	for _, r := range Roles() {
		if s.Degree(r) > 1 && !slices.Contains(roles, r) {
			return &ValueError{layer + "order", string(s.Order), fmt.Sprintf("must list %s, whose degree is %d", r, s.Degree(r))}
		}
	}
	return nil
}

// String gives the strategy as the text form of plans has it, without what is
// left at its default: "dp=2 zero=3".
func (s Strategy) String() string {
	if words := s.words(); len(words) > 0 {
		return strings.Join(words, " ")
	}
	return "dp=1"
}

// words lists what is not at its default as key=value.
func (s Strategy) words() []string {
	var words []string
	for _, k := range strategyKeys {
		if v := k.get(&s); v != k.get(&Strategy{DP: 1, TP: 1}) {
			words = append(words, k.name+"="+v)
		}
	}
	return words
}

// MarshalJSON gives the list of roles.
func (o Order) MarshalJSON() ([]byte, error) { return json.Marshal(o.roles()) }

// UnmarshalJSON reads the list of roles.
func (o *Order) UnmarshalJSON(data []byte) error {
	var roles []string
	err := json.Unmarshal(data, &roles)
	*o = Order(strings.Join(roles, ","))
	return err
}
