package simulate

import "github.com/galvani-ml/galvani/parallel"

// Job is a training step of a plan on a cluster.
type Job struct {
	Stages   []Stage
	Micro    int // micro-batches
	Schedule parallel.Schedule
	// Cores is how many ranks of a host can compute at full speed at the same
	// time. 0: each rank has a device of its own.
	Cores float64
	// Overlap is k, at least 1: computation and exchanges of a rank each run k
	// times slower while both run. 0 stands for 1, no effect.
	Overlap float64
}

// Stage is a pipeline stage. All its ranks do the same at the same time.
type Stage struct {
	// Host is the host of the stage's ranks, or the first of several that are
	// alike. Stages with the same number share that host's cores.
	Host int
	// Ranks is how many ranks of the stage compute on that host. 0 stands for 1.
	Ranks int
	// Forward and Backward are the passes of a micro-batch. Update is run once a
	// step, after the last backward pass.
	Forward, Backward, Update []Task

	States     int64   // bytes that stay through the step: parameters, gradients, moments
	Activation int64   // bytes that a micro-batch in flight keeps beside those of Layers
	Layers     []Layer // may be empty where memory is of no interest
}

// Layer is the memory of a layer on a rank, in bytes.
type Layer struct {
	// Activation is what the forward pass leaves to the backward pass.
	Activation int64
	// Peak is what the layer's own passes need for a while beside that.
	Peak int64
}

// Merge returns the layer that stands for neighbouring ones whose tasks are
// merged. A stage's peak does not change by it.
func Merge(layers ...Layer) Layer {
	var m Layer
	var peak int64 // with the activations up to the layer that has it
	for _, l := range layers {
		m.Activation += l.Activation
		peak = max(peak, m.Activation+l.Peak)
	}
	m.Peak = peak - m.Activation
	return m
}

// overlap is Overlap with its default.
func (j *Job) overlap() float64 { return max(1, j.Overlap) }

// ranks is Ranks with its default.
func (s *Stage) ranks() int { return max(1, s.Ranks) }
