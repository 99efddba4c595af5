package kernel

// BatchedGemmArgs describes Batch products of one shape. Product i uses A, B
// and C from element i*StrideA, i*StrideB and i*StrideC on; a stride of 0
// shares an operand. C must not be shared. Of the epilogue only Bias applies, and BF16 does not.
type BatchedGemmArgs struct {
	GemmArgs
	Batch                     int
	StrideA, StrideB, StrideC int
}

// batchedTask computes strips of C, a tile wide, of each product. The operands
// are small and read in place; only a transposed B is turned, strip by strip.
type batchedTask struct {
	g       BatchedGemmArgs
	in      *inner
	strips  int // of one product
	workers [][]float32
}

// GemmBatched computes many small products, such as those of attention heads:
// workers claim strips of their columns, and no operand is packed. It suits
// products whose operands fit the L2 cache; [Gemm] suits large ones.
func GemmBatched(p *Pool, g BatchedGemmArgs) {
	if g.M <= 0 || g.N <= 0 || g.Batch <= 0 {
		return
	}
	t := &p.tasks.batched
	*t = batchedTask{g: g, in: active.Load(), workers: p.scratch.workers}
	t.strips = ceil(g.N, t.in.nr)
	p.run(g.Batch*t.strips, max(1, (1<<16)/(g.M*t.in.nr*max(g.K, 1))), t)
	*t = batchedTask{}
}

func (t *batchedTask) run(worker, lo, hi int) {
	for i := lo; i < hi; i++ {
		batch, col := i/t.strips, i%t.strips*t.in.nr
		g := t.g.GemmArgs
		g.A, g.B, g.C = g.A[batch*t.g.StrideA:], g.B[batch*t.g.StrideB:], g.C[batch*t.g.StrideC:]
		g.N = min(t.in.nr, g.N-col)
		if g.TransB {
			g.B = g.B[col*g.LDB:]
		} else {
			g.B = g.B[col:]
		}
		g.C = g.C[col:]
		if g.Bias != nil {
			g.Bias = g.Bias[col:]
		}
		t.in.strip(t.workers[worker], &g)
	}
}

// strip computes a product of at most nr columns without packing, in blocks of
// depth maxKC so that a transposed B fits the buffer.
func (in *inner) strip(buffer []float32, g *GemmArgs) {
	if g.K <= 0 {
		gemmEmpty(buffer, g)
		return
	}
	rs, ks := g.LDA, 1
	if g.TransA {
		rs, ks = 1, g.LDA
	}
	for k0 := 0; k0 < g.K; k0 += maxKC {
		kc := min(maxKC, g.K-k0)
		var b []float32
		ldb := g.LDB
		if g.TransB {
			b, ldb = buffer, in.nr
			in.transpose(b, ldb, g.B[k0:], g.LDB, g.N, kc)
		} else {
			b = g.B[k0*g.LDB:]
		}
		var bias []float32
		if k0+kc == g.K {
			bias = g.Bias
		}
		for i := 0; i < g.M; i += in.mr {
			in.tile(kc, g.A[i*rs+k0*ks:], rs, ks, b, ldb, g.C[i*g.LDC:], g.LDC,
				min(in.mr, g.M-i), g.N, g.Accumulate || k0 > 0, bias)
		}
	}
}
