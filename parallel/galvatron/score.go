package galvatron

import "math"

// form is how a version scores a pipeline.
type form int

const (
	slowest form = iota // version 2.0: as if every stage took as long as the slowest
	ends                // version 3.0: of the first and the last stage
)

// pipeline sums up what a score is of: of stages from some stage to the last.
type pipeline struct {
	first, last float64 // C of the first and of the last of these stages
	sum         float64 // of C
	most        float64 // the largest C
	tail        float64 // max_i (S_i - sum of C up to i): what reduces after the last backward pass
}

// before returns the pipeline with one more stage before it.
func (p pipeline) before(time, synced float64) pipeline {
	if p == (pipeline{}) {
		return pipeline{time, time, time, time, synced - time}
	}
	return pipeline{time, p.last, p.sum + time, max(p.most, time), max(synced, p.tail) - time}
}

// score is the time of a step of P stages and m micro-batches.
func (f form) score(p pipeline, stages, chunks int) float64 {
	tail := max(0, p.tail)
	if f == slowest {
		return p.most*float64(chunks-1+stages) + tail
	}
	t := p.sum + p.last*float64(chunks-1)
	rest := p.sum - p.first
	warm := float64(min(stages-1, chunks-1)) * p.first
	steady := max(warm/3, rest/3) + max(warm*2/3, rest*2/3) + p.first*float64(max(0, chunks+1-stages))
	return max(t, steady) + tail
}

// bound is a score that no plan has less than: times are the least C of every
// stage, synced the least S of the first.
func (f form) bound(times []float64, synced float64, chunks int) float64 {
	var p pipeline
	for i := len(times) - 1; i >= 0; i-- {
		p = p.before(times[i], math.Inf(-1))
	}
	t := f.score(p, len(times), chunks)
	if f == slowest {
		return t + max(0, synced-p.most)
	}
	return t + max(0, synced-p.first)
}
