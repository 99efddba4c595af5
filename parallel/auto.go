package parallel

import (
	"fmt"
	"strings"
)

// Choice is a plan found by a rule, with the reasons.
type Choice struct {
	Plan    *Plan
	Reasons []string // one sentence each
}

// AutoError says that the plain rule finds no plan that uses all workers.
type AutoError struct {
	Facts          Facts
	Workers, Batch int
	Fit            int // the most workers, fewer than Workers, that have a plan
}

// Error names a number of workers that has a plan.
func (e *AutoError) Error() string {
	return fmt.Sprintf("no automatic plan: %d workers, batch %d, %d blocks: dp must divide the batch and pp be at most the number of blocks, with dp*pp = %d: use %d workers or another batch",
		e.Workers, e.Batch, e.Facts.Blocks, e.Workers, e.Fit)
}

// Auto chooses a plan for all workers by a plain rule, without costs:
//
//  1. Data parallelism first, because its ranks never wait for each other
//     within a step: dp is the largest number that divides both the workers and
//     the batch and leaves pp = workers/dp at most the number of blocks.
//  2. The rest is pipeline stages of as equal size as can be, in 1F1B order.
//  3. A pipeline idles (P-1)/(m+P-1) of the time, so the micro-batches of a
//     pipeline are as many as divide a rank's rows, up to 4 P, where a fifth is
//     idle. Without a pipeline there is one micro-batch.
func Auto(f Facts, workers, batch int) (*Choice, error) {
	if workers < 1 || batch < 1 {
		return nil, &ValueError{"plan", "auto", fmt.Sprintf("needs at least 1 worker and a batch of at least 1, has %d and %d", workers, batch)}
	}
	dp, reasons := widest(f, workers, batch)
	if dp == 0 {
		fit := workers - 1
		for d, _ := widest(f, fit, batch); d == 0; d, _ = widest(f, fit, batch) {
			fit--
		}
		return nil, &AutoError{Facts: f, Workers: workers, Batch: batch, Fit: fit}
	}
	p := Default()
	p.DP, p.PP = dp, workers/dp
	if p.PP == 1 {
		return &Choice{p, append(reasons, "one stage needs no micro-batches")}, nil
	}
	rows := batch / dp
	for _, m := range divisors(rows) {
		if m <= 4*p.PP {
			p.Micro = m
		}
	}
	reasons = append(reasons,
		fmt.Sprintf("pp=%d: workers/dp, stages of %s blocks", p.PP, joinInts(p.BlocksPerStage(f), ", ")),
		fmt.Sprintf("micro=%d: divides the %d rows of a rank, at most 4*pp; a stage idles %d/%d of a step", p.Micro, rows, p.PP-1, p.Micro+p.PP-1))
	return &Choice{p, reasons}, nil
}

// widest returns the largest dp that fits, 0 if none does, and why no larger one.
func widest(f Facts, workers, batch int) (dp int, reasons []string) {
	candidates := divisors(workers)
	for i := len(candidates) - 1; i >= 0; i-- {
		dp, pp := candidates[i], workers/candidates[i]
		switch {
		case batch%dp != 0:
			reasons = append(reasons, fmt.Sprintf("not dp=%d: it does not divide the batch of %d", dp, batch))
		case pp > max(1, f.Blocks):
			reasons = append(reasons, fmt.Sprintf("not dp=%d: pp=%d is more than the %d blocks", dp, pp, f.Blocks))
		default:
			return dp, append(reasons, fmt.Sprintf("dp=%d: the largest left that divides workers (%d) and batch (%d)", dp, workers, batch))
		}
	}
	return 0, reasons
}

// Explain gives the plan and, a line each, the reasons.
func (c *Choice) Explain() string {
	return c.Plan.String() + "\n  " + strings.Join(c.Reasons, "\n  ") + "\n"
}
