package plantest

import (
	"strings"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/parallel"
)

// Draw draws a plan over 1 to 8 ranks for a model of [Blocks] blocks, and a
// batch that it divides. Half of the plans give every layer a strategy of its
// own.
func Draw(t *rapid.T) (plan *parallel.Plan, batch int) {
	p := parallel.Default()
	ranks := evenly(t, "ranks", 1, 2, 3, 4, 5, 6, 7, 8, 4, 6, 8, 8) // more of those that split in more ways
	p.PP = evenly(t, "pp", divisors(ranks, Blocks)...)
	p.Micro = evenly(t, "micro", 1, 2, 3)
	p.Schedule = rapid.SampledFrom(parallel.Schedules()).Draw(t, "schedule")
	if rapid.Bool().Draw(t, "uneven") {
		p.Stages = drawStages(t, p.PP)
	}
	axes := drawFactors(t, ranks/p.PP)
	p.Strategy = drawStrategy(t, axes)
	if rapid.Bool().Draw(t, "mixed") {
		for range Blocks + 2 {
			p.Layers = append(p.Layers, drawStrategy(t, axes))
		}
		p.Strategy = parallel.Strategy{DP: 1, TP: 1}
	}
	return p, p.BatchWays() * p.Micro * evenly(t, "rows", 1, 2)
}

// evenly draws one of xs, each as likely as any other, unlike SampledFrom. It
// shrinks to the first.
func evenly(t *rapid.T, name string, xs ...int) int {
	return xs[rapid.Permutation(indices(len(xs))).Draw(t, name)[0]]
}

func indices(n int) []int {
	var is []int
	for i := range n {
		is = append(is, i)
	}
	return is
}

func divisors(n, most int) []int {
	var ds []int
	for d := 1; d <= min(n, most); d++ {
		if n%d == 0 {
			ds = append(ds, d)
		}
	}
	return ds
}

// drawStages deals the blocks to stages, at least one to each.
func drawStages(t *rapid.T, pp int) []int {
	var stages []int
	rest := Blocks - pp
	for range pp - 1 {
		more := rapid.IntRange(0, rest).Draw(t, "more blocks")
		rest -= more
		stages = append(stages, 1+more)
	}
	return append(stages, 1+rest)
}

// drawFactors draws an ordered factorisation into primes: the finest mesh.
func drawFactors(t *rapid.T, n int) []int {
	var primes []int
	for p := 2; n > 1; p++ {
		for n%p == 0 {
			primes = append(primes, p)
			n /= p
		}
	}
	return rapid.Permutation(primes).Draw(t, "axes")
}

// drawStrategy gives each axis a role, in a drawn order of roles, so that
// neighbouring axes may share one. What does not divide the models' dimensions
// splits the batch.
func drawStrategy(t *rapid.T, axes []int) parallel.Strategy {
	roles := rapid.Permutation(parallel.Roles()).Draw(t, "order")
	degree := map[parallel.Role]int{}
	at := 0
	for _, size := range axes {
		at = evenly(t, "role", indices(len(roles))[at:]...)
		role := roles[at]
		if heads%size != 0 {
			role = parallel.RoleDP
		}
		degree[role] = max(1, degree[role]) * size
	}
	s := parallel.Strategy{
		DP: max(1, degree[parallel.RoleDP]), TP: max(1, degree[parallel.RoleTP]), SP: degree[parallel.RoleSP], CP: degree[parallel.RoleCP],
		ZeRO:             evenly(t, "zero", 0, 1, 2, 3),
		Checkpoint:       rapid.Bool().Draw(t, "ckpt"),
		SequenceParallel: rapid.Bool().Draw(t, "sequence parallel"),
	}
	if s.Ranks() > 1 {
		var names []string
		for _, r := range roles {
			names = append(names, string(r))
		}
		s.Order = parallel.Order(strings.Join(names, ","))
	}
	return s
}
