package kernel

import (
	"testing"

	"pgregory.net/rapid"
)

// TestChain compares chains with a kernel for each link: the same bits.
func TestChain(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		n := rapid.OneOf(size(131), rapid.IntRange(chainBlock-2, chainBlock+20), rapid.IntRange(chunk-2, chunk+20)).Draw(t, "n")
		draw := random(t)
		x := draw(n)
		links := make([]Link, rapid.IntRange(1, MaxLinks).Draw(t, "links"))
		for i := range links {
			links[i] = Link{
				Op:       rapid.SampledFrom([]LinkOp{LinkAdd, LinkValue, LinkSlope, LinkDropout}).Draw(t, "op"),
				Function: rapid.SampledFrom([]Function{GELUTanhFunction, GELUErfFunction, SiLUFunction}).Draw(t, "function"),
				Other:    draw(n),
				Dropout:  DropoutArgs{P: 0.3, Seed: 7, Step: 3, Site: uint32(i), First: uint64(rapid.IntRange(0, 9).Draw(t, "first"))},
			}
		}
		keep := rapid.SliceOfN(rapid.Bool(), len(links), len(links)).Draw(t, "keep")
		keep[len(links)-1] = false
		alias := rapid.IntRange(0, 2).Draw(t, "alias")
		run := func(p *Pool) (results [][]float32) {
			ls, x := append([]Link{}, links...), append([]float32{}, x...)
			for i := range ls {
				if keep[i] {
					ls[i].Keep = make([]float32, n)
					results = append(results, ls[i].Keep)
				}
			}
			y := make([]float32, n)
			switch {
			case alias == 1:
				y = x
			case alias == 2 && (ls[0].Op == LinkAdd || ls[0].Op == LinkSlope):
				copy(y, ls[0].Other)
				ls[0].Other = y
			}
			Chain(p, y, x, ls)
			return append(results, y)
		}
		return run, func(t *rapid.T, got [][]float32) {
			p := NewPool(1)
			defer p.Close()
			z := append([]float32{}, x...)
			for i, l := range links {
				applyLink(p, z, l)
				if !keep[i] && i < len(links)-1 {
					continue
				}
				for j, want := range z {
					if got[0][j] != want {
						t.Fatalf("after link %d element %d is %g, want %g", i, j, got[0][j], want)
					}
				}
				got = got[1:]
			}
		}
	})
}

func applyLink(p *Pool, x []float32, l Link) {
	values := map[Function]func(p *Pool, y, x []float32){GELUTanhFunction: GELUTanh, GELUErfFunction: GELUErf, SiLUFunction: SiLU}
	slopes := map[Function]func(p *Pool, dx, dy, x []float32){GELUTanhFunction: GELUTanhGrad, GELUErfFunction: GELUErfGrad, SiLUFunction: SiLUGrad}
	switch l.Op {
	case LinkAdd:
		Add(p, x, x, l.Other)
	case LinkValue:
		values[l.Function](p, x, x)
	case LinkSlope:
		slopes[l.Function](p, x, x, l.Other)
	case LinkDropout:
		Dropout(p, x, x, l.Dropout)
	}
}
