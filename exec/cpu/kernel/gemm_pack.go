package kernel

// packTask copies a block of op(A) into panels [depth, panelA], each of mr
// rows, and a block of op(B) into panels [depth, nr], so that the micro-kernel
// reads both in order. What a panel has beyond the matrix is never read.
type packTask struct {
	g                 GemmArgs
	in                *inner
	a, b              []float32
	m0, n0, k0        int // where the block starts
	rows, cols, depth int // its size: [rows, depth] by [depth, cols]
	keepA             bool
	unitsA            int // claims that are for A; those for B follow
}

// packDepth is how many rows of an operand stored [K, ...] are packed together:
// as many streams as the processor prefetches.
const packDepth = 8

// count sets the number of claims of each operand and returns their sum. An
// operand stored along K is divided into panels, another into rows.
func (t *packTask) count() int {
	t.unitsA = ceil(t.rows, t.in.mr)
	if t.g.TransA {
		t.unitsA = ceil(t.depth, packDepth)
	}
	if t.keepA {
		t.unitsA = 0
	}
	if t.g.TransB {
		return t.unitsA + ceil(t.cols, t.in.nr)
	}
	return t.unitsA + ceil(t.depth, packDepth)
}

func (t *packTask) run(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		if i < t.unitsA {
			t.packA(i)
		} else {
			t.packB(i - t.unitsA)
		}
	}
}

func (t *packTask) packA(unit int) {
	g, mr := &t.g, t.in.mr
	if g.TransA {
		t.packRows(t.a, panelA, mr, g.A[t.k0*g.LDA+t.m0:], g.LDA, t.rows, unit*packDepth)
		return
	}
	row := unit * mr
	dst := t.a[unit*t.depth*panelA:][:t.depth*panelA]
	t.in.transpose(dst, panelA, g.A[(t.m0+row)*g.LDA+t.k0:], g.LDA, min(mr, t.rows-row), t.depth)
}

func (t *packTask) packB(unit int) {
	g, nr := &t.g, t.in.nr
	if !g.TransB {
		t.packRows(t.b, nr, nr, g.B[t.k0*g.LDB+t.n0:], g.LDB, t.cols, unit*packDepth)
		return
	}
	col := unit * nr
	dst := t.b[unit*t.depth*nr:][:t.depth*nr]
	t.in.transpose(dst, nr, g.B[(t.n0+col)*g.LDB+t.k0:], g.LDB, min(nr, t.cols-col), t.depth)
}

// packRows copies packDepth rows from row k on of src [depth, cols] into
// panels of step columns, whose rows are width elements long.
func (t *packTask) packRows(dst []float32, width, step int, src []float32, lds, cols, k int) {
	n := min(packDepth, t.depth-k)
	for j := 0; j < cols; j += step {
		panel := dst[j/step*t.depth*width+k*width:][:n*width]
		from := src[k*lds+j:]
		if width == panelA && len(from) >= (n-1)*lds+panelA {
			for r := range n {
				*(*[panelA]float32)(panel[r*panelA:]) = *(*[panelA]float32)(from[r*lds:])
			}
			continue
		}
		for r := range n {
			copy(panel[r*width:], from[r*lds:][:min(step, cols-j)])
		}
	}
}
