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
	Layer string // name of the layer
	What  string // what is split, as "12 attention heads"
	Parts int    // number of ranks it must divide among
	Works []int  // values of the key that would
}

// Error names the key, the layer, and the values that would work.
func (e *DegreeError) Error() string {
	return fmt.Sprintf("%s=%d does not fit layer %s: %s do not divide among %d ranks: choose %s of %s",
		e.Key, e.Value, e.Layer, e.What, e.Parts, e.Key, joinInts(e.Works, ", "))
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
	remedy := fmt.Sprintf("list %d stages of at least 1 block, %d in all", e.PP, e.Blocks)
	if e.PP > e.Blocks {
		remedy = fmt.Sprintf("choose pp <= %d", e.Blocks)
	}
	return fmt.Sprintf("stages do not fit the model: %s, %d blocks: %s: %s", where, e.Blocks, e.Problem, remedy)
}

// BatchError is a batch that does not divide into equal micro-batches on every
// data-parallel rank.
type BatchError struct {
	Batch, DP, Micro int
}

// Error says which values would divide.
func (e *BatchError) Error() string {
	k := e.DP * e.Micro
	what := fmt.Sprintf("batch does not divide: batch %d, dp*micro = %d*%d = %d", e.Batch, e.DP, e.Micro, k)
	var ways []string
	switch {
	case e.Batch < 1:
	case e.Batch%e.DP == 0:
		ways = append(ways, fmt.Sprintf("with dp=%d choose micro of %s", e.DP, joinInts(divisors(e.Batch/e.DP), ", ")))
	default:
		ways = append(ways, fmt.Sprintf("choose dp of %s", joinInts(divisors(e.Batch), ", ")))
	}
	if below := e.Batch / k * k; below > 0 {
		ways = append(ways, fmt.Sprintf("choose a batch of %d or %d", below, below+k))
	} else {
		ways = append(ways, fmt.Sprintf("choose a batch of %d", k))
	}
	return what + ": " + strings.Join(ways, ", or ")
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
