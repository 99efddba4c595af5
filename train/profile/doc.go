// Package profile measures this machine for the planner.
//
// [Hardware] has worker processes that are joined as those of a training job
// are, over NATS, measure together: what each exchange takes for groups of each
// size and stride, all groups alike at the same time; what products, attention
// and memory give while every worker computes; and how much computation and
// exchanges slow each other down. The result is a [cluster.Cluster] and is kept
// in the user's cache.
//
// A figure is of turns in which all workers make the same calls, from a barrier
// on: the median over the turns of what the slowest worker took a call.
package profile
