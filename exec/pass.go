package exec

import (
	"fmt"
	"slices"
	"strings"
)

// Pass names a rewriting of the program that [Compile] does. None changes a bit
// of any result.
type Pass string

// The passes, in the order in which they are done.
const (
	// Recompute has the backward pass compute again what is cheap, instead of
	// having it kept: activations and norms, whose operands are kept anyway. It
	// takes a little time, so it is done where [Options] enable it only.
	Recompute Pass = "recompute"
	// Epilogue makes one instruction of two where the back end has a kernel for
	// both, as a product that applies the activation to its result.
	Epilogue Pass = "epilogue"
	// Elementwise makes one instruction of a chain of elementwise operations,
	// as dropout and the residual connection: what is between them stays in
	// cache.
	Elementwise Pass = "elementwise"
	// Narrow stores in bf16 what is read by products in bf16 alone, which round
	// it anyway. Without [BF16] there is nothing of that kind.
	Narrow Pass = "narrow"
	// InPlace gives a result the memory of an operand that nothing reads
	// afterwards.
	InPlace Pass = "inplace"
	// Pack keeps parameters in the layouts that products read them in, made anew
	// once a step. It saves time where a step has many micro-batches of few
	// tokens, and takes the memory of the parameters once more for the forward
	// and once for the backward pass, so it is done where [Options] enable it only.
	Pack Pass = "pack"
	// Overlap lets exchanges with other ranks run beside the computation.
	Overlap Pass = "overlap"
)

// Passes are all passes.
func Passes() []Pass { return []Pass{Recompute, Epilogue, Elementwise, Narrow, InPlace, Pack, Overlap} }

// CheckPasses refuses names of passes that there are not.
func CheckPasses(passes ...Pass) error {
	for _, p := range passes {
		if !slices.Contains(Passes(), p) {
			return fmt.Errorf("exec: there is no pass %q: the passes are %s", p, PassNames())
		}
	}
	return nil
}

// PassNames lists all passes, separated by commas.
func PassNames() string {
	var names []string
	for _, p := range Passes() {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

// does reports whether a pass is done.
func (o Options) does(p Pass) bool {
	return !slices.Contains(o.Disable, p) && (p != Recompute && p != Pack || slices.Contains(o.Enable, p))
}
