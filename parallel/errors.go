package parallel

import (
	"fmt"
	"strconv"
	"strings"
)

// KeyError is a key that plans do not have.
type KeyError struct {
	Key, Value string
	Nearest    string // the known key most like it
	Known      string // all keys
}

// Error names the key and the nearest known one.
func (e *KeyError) Error() string {
	return fmt.Sprintf("unknown plan key: %s=%s: did you mean %s? (keys: %s)", e.Key, e.Value, e.Nearest, e.Known)
}

// ValueError is a value that a key of a plan cannot have.
type ValueError struct {
	Key, Value string
	Problem    string
}

// Error names the key and the value.
func (e *ValueError) Error() string {
	return fmt.Sprintf("invalid plan value: %s=%s: %s", e.Key, e.Value, e.Problem)
}

// DegreeError is a degree that does not divide what it splits of a layer.
type DegreeError struct {
	Key   string // of the plan
	Value int
	Index int    // of the layer
	Layer string // its name
	What  string // what is split, as "12 attention heads"
	Parts int    // number of ranks it must divide among
	Works []int  // values of the key that would
}

// Error names the key, the layer, and the values that would work.
func (e *DegreeError) Error() string {
	return fmt.Sprintf("%s=%d does not fit layer %d (%s): %s do not divide among %d ranks: choose %s of %s",
		e.Key, e.Value, e.Index, e.Layer, e.What, e.Parts, e.Key, joinInts(e.Works, ", "))
}

// WorkersError is a plan for another number of workers than there are.
type WorkersError struct {
	Plan       *Plan
	Need, Have int
}

// Error says how many workers there are and how many the plan is for.
func (e *WorkersError) Error() string {
	relation := "more workers than there are"
	if e.Need < e.Have {
		relation = "fewer workers than there are"
	}
	degrees := []string{"pp"}
	values := []string{fmt.Sprintf("pp=%d", e.Plan.PP)}
	for _, r := range Roles() {
		if d := e.Plan.distinct()[0].Degree(r); d > 1 || r == RoleDP || r == RoleTP {
			degrees, values = append(degrees, string(r)), append(values, fmt.Sprintf("%s=%d", r, d))
		}
	}
	return fmt.Sprintf("plan for %s: %s takes %d, there are %d: start %d workers or choose a plan with %s = %d",
		relation, strings.Join(values, " "), e.Need, e.Have, e.Need, strings.Join(degrees, "*"), e.Have)
}

// StagesError is a plan whose stages do not fit the model's blocks.
type StagesError struct {
	PP     int
	Stages []int // as listed; empty for an even split
	Blocks int
	// Problem says what does not fit.
	Problem string
}

// Error gives the stages and the number of blocks.
func (e *StagesError) Error() string {
	where := fmt.Sprintf("pp=%d", e.PP)
	if len(e.Stages) > 0 {
		where += " stages=" + joinInts(e.Stages, ",")
	}
	remedy := fmt.Sprintf("choose pp of 1 to %d", e.Blocks)
	if e.PP <= e.Blocks {
		even := (&Plan{PP: e.PP}).BlocksPerStage(Facts{Blocks: e.Blocks})
		remedy = fmt.Sprintf("list %d stages of at least 1 block, %d in all, as stages=%s", e.PP, e.Blocks, joinInts(even, ","))
	}
	return fmt.Sprintf("stages do not fit the model: %s, %d blocks: %s: %s", where, e.Blocks, e.Problem, remedy)
}

// BatchError is a batch that does not divide into equal micro-batches on every
// data-parallel rank.
type BatchError struct {
	Batch, DP, Micro int
	Ways             int    // [Plan.BatchWays]
	Layer            string // whose dp it is, where layers differ
}

// Error says which values would divide.
func (e *BatchError) Error() string {
	k := e.Ways * e.Micro
	what := fmt.Sprintf("batch does not divide: batch %d, dp*micro = %d*%d = %d", e.Batch, e.DP, e.Micro, e.DP*e.Micro)
	if e.Layer != "" {
		what += " of layer " + e.Layer
	}
	var ways []string
	switch {
	case e.Batch < 1:
	case e.Batch%e.Ways == 0:
		ways = append(ways, fmt.Sprintf("with dp=%d choose micro of %s", e.DP, joinInts(divisors(e.Batch/e.Ways), ", ")))
	case e.Batch%e.Micro == 0:
		ways = append(ways, fmt.Sprintf("with micro=%d choose dp of %s", e.Micro, joinInts(divisors(e.Batch/e.Micro), ", ")))
	default:
		ways = append(ways, fmt.Sprintf("choose dp*micro of %s", joinInts(divisors(e.Batch), ", ")))
	}
	if below := e.Batch / k * k; below > 0 {
		ways = append(ways, fmt.Sprintf("choose a batch of %d or %d", below, below+k))
	} else {
		ways = append(ways, fmt.Sprintf("choose a batch of %d", k))
	}
	return what + ": " + strings.Join(ways, ", or ")
}

// RanksError is a layer whose strategy is for another number of ranks than
// another layer's of the same plan: ranks would be missing from one of them.
type RanksError struct {
	Layer, Ranks int
	Strategy     Strategy
	First        Strategy // of layer 0
}

// Error names both layers, and the products of degrees that would work.
func (e *RanksError) Error() string {
	n := e.First.Ranks()
	few, less, more := e.Layer, e.Ranks, n
	if less > more {
		few, less, more = 0, n, e.Ranks
	}
	missing := fmt.Sprintf("rank %d is", less)
	if more > less+1 {
		missing = fmt.Sprintf("ranks %d to %d are", less, more-1)
	}
	return fmt.Sprintf("invalid plan value: layers: layer %d (%v) has %d ranks, layer 0 (%v) has %d: %s missing from layer %d: choose degrees whose product is %d for layer %d, or %d for all layers",
		e.Layer, e.Strategy, e.Ranks, e.First, n, missing, few, n, e.Layer, e.Ranks)
}

// MeshError is two layers whose strategies' trees have no common mesh.
type MeshError struct {
	Ranks         int
	Layers, Parts [2]int // parts that the layers split the ranks into
	Strategies    [2]Strategy
	Works         []Order // of the second layer
}

// Error names both layers, and the orders that would work.
func (e *MeshError) Error() string {
	remedy := "choose other degrees"
	if len(e.Works) > 0 {
		words := make([]string, len(e.Works))
		for i, o := range e.Works {
			words[i] = "order=" + string(o)
		}
		remedy = fmt.Sprintf("choose %s for layer %d, or other degrees", strings.Join(words, " or "), e.Layers[1])
	}
	return fmt.Sprintf("invalid plan value: layers: layer %d (%v) splits %d ranks into parts of %d, layer %d (%v) into parts of %d, which have no common mesh: %s",
		e.Layers[0], e.Strategies[0], e.Ranks, e.Parts[0], e.Layers[1], e.Strategies[1], e.Parts[1], remedy)
}

// divisors returns the divisors of n, ascending.
func divisors(n int) []int {
	var small, large []int
	for d := 1; d*d <= n; d++ {
		if n%d != 0 {
			continue
		}
		small = append(small, d)
		if d*d != n {
			large = append([]int{n / d}, large...)
		}
	}
	return append(small, large...)
}

func joinInts(xs []int, sep string) string {
	words := make([]string, len(xs))
	for i, x := range xs {
		words[i] = strconv.Itoa(x)
	}
	return strings.Join(words, sep)
}
