package kernel

import "fmt"

// Function names an elementwise function that follows a product.
type Function uint8

// The functions.
const (
	Identity Function = iota
	GELUTanhFunction
	GELUErfFunction
	SiLUFunction
)

// Epilogue is what a product does with each part of C while it is in cache, in
// the order of the fields. Add and Saved are laid out as C is.
type Epilogue struct {
	Bias []float32 // [N], added to each row; nil for none
	Add  []float32 // added: a residual; nil for none
	// Function is applied to C. With Slope, C is multiplied with the function's
	// derivative at Saved instead: the gradient of a product that follows the
	// function. Without, Saved receives what the function is applied to, for
	// that gradient; nil saves nothing.
	Function Function
	Slope    bool
	Saved    []float32
	// C16 receives the result, rounded to bf16, in place of C. Products then add
	// up in Saved, which must be there, and a derivative cannot follow.
	C16 []uint16
}

func (e *Epilogue) check(m, n, ldc int) error {
	fail := func(format string, args ...any) error {
		return &ShapeError{"gemm", fmt.Sprintf(format, args...)}
	}
	if e.Bias != nil && len(e.Bias) < n {
		return fail("bias has %d elements, C has %d columns", len(e.Bias), n)
	}
	if e.Function > SiLUFunction {
		return fail("function %d is unknown", e.Function)
	}
	if e.Slope && e.Saved == nil && e.Function != Identity {
		return fail("a derivative needs the function's saved argument")
	}
	if e.C16 != nil && (e.Slope || e.Saved == nil) {
		return fail("C in bf16 needs a place to save the function's argument, and is of no derivative")
	}
	for name, x := range map[string][]float32{"add": e.Add, "saved": e.Saved} {
		if need := (m-1)*ldc + n; x != nil && m > 0 && n > 0 && len(x) < need {
			return fail("%s has %d elements, needs %d", name, len(x), need)
		}
	}
	return nil
}

// plain reports whether the micro-kernel, which adds the bias, does all.
func (e *Epilogue) plain() bool { return e.Add == nil && e.Function == Identity && e.Saved == nil }

// prefetch asks for what finish will touch besides C.
func (e *Epilogue) prefetch(in *inner, ldc, row, col, rows, cols int) {
	if in.prefetch == nil {
		return
	}
	from := row*ldc + col
	if e.Add != nil {
		in.prefetch(e.Add[from:], ldc, rows, cols)
	}
	if e.Saved != nil && e.C16 == nil {
		in.prefetch(e.Saved[from:], ldc, rows, cols)
	}
}

// finish does all but the bias to rows and cols of C from (row, col) on, with
// room for a block of results.
func (e *Epilogue) finish(in *inner, block, c []float32, ldc, row, col, rows, cols int) {
	if e.plain() {
		return
	}
	value, slope := in.function(e.Function)
	for i := range rows {
		from := (row+i)*ldc + col
		x := c[from:][:cols]
		if e.Add != nil {
			in.add(x, x, e.Add[from:][:cols])
		}
		switch {
		case e.C16 != nil: // c is Saved
			in.roundedTo(e.C16[from:][:cols], value, x, block)
		case e.Slope && slope != nil:
			slope(x, x, e.Saved[from:][:cols])
		case e.Slope:
		default:
			if e.Saved != nil {
				copy(e.Saved[from:], x)
			}
			if value != nil {
				value(x, x)
			}
		}
	}
}

// function gives the loops of f and of its derivative, nil for the identity.
func (in *inner) function(f Function) (value func(y, x []float32), slope func(dx, dy, x []float32)) {
	switch f {
	case GELUTanhFunction:
		return in.geluTanh, in.geluTanhGrad
	case GELUErfFunction:
		return in.geluErf, in.geluErfGrad
	case SiLUFunction:
		return in.silu, in.siluGrad
	}
	return nil, nil
}
