// Package search finds the fastest plan that fits in memory: the planner of
// Galvatron-BMW, made exact.
//
// It knows no model and no machine: a [Problem] holds what every layer costs
// under every strategy, and a [Solver] answers with the strategy of each layer
// and the layers of each pipeline stage. [Space] lists the strategies, [Sweep]
// tries pipeline degrees, micro-batches, schedules and batches.
//
// Terms: P stages, m micro-batches, C_i the time of one micro-batch on stage i
// without reduction of gradients, e_i what the last micro-batch takes more for
// it, S_i = C_i + e_i. Times are seconds, memory is bytes.
//
// # What is exact, and why
//
// A step takes [Problem.Score]. It grows with every C_i and with every S_i, so
// of a stage only the choices that no other beats in both matter: the stage's
// front ([Solver.Front]). A front is found by dynamic programming over the
// layers, with states of memory, peak, C and S, of which those beaten in all
// four are dropped, and those that cannot reach the front any more: what the
// layers to come cost at least, within the memory left, is known from a smaller
// program over them. Nothing else is dropped, so the front is exact, for memory
// rounded up to the grid, layer by layer.
//
// The fronts of the stages are put together from the last to the first with
// states of sum, reduction and largest stage time, by the same rule. So
// [Solver.Solve] is exact for a partition, and [Solver.Exact] over all
// partitions. Layers that are the same pointer are equal, and stages of equal
// layers with equally many micro-batches in flight are solved once.
//
// [Solver.BMW] is the published heuristic, to compare with.
package search
