package exec

import "fmt"

// Precision says how a program multiplies by parameters, and in what it stores
// the other operand.
type Precision string

// The precisions.
const (
	// FP32 computes everything in float32. The zero value means it, too.
	FP32 Precision = "fp32"
	// BF16 rounds both operands of a linear layer's product, and of its
	// gradients' two, to bf16, and adds up the products in float32. What nothing
	// but such products reads, as a norm's result, is rounded once and stored in
	// bf16 (see [Narrow]). Everything else is float32: parameters, gradients,
	// moments, norms, attention, the loss. Micikevicius et al., Mixed Precision
	// Training (2018).
	BF16 Precision = "bf16"
)

// ParsePrecision is the precision of that name.
func ParsePrecision(name string) (Precision, error) {
	p := Precision(name)
	return p, p.check()
}

func (p Precision) check() error {
	switch p {
	case "", FP32, BF16:
		return nil
	}
	return fmt.Errorf("exec: precision %q is unknown: use %s or %s", string(p), FP32, BF16)
}
