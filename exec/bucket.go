package exec

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/graph"
)

// bucket is a run of gradients that are summed over the same groups together.
type bucket struct {
	groups   []string
	from, to int // elements of the gradients
	name     string
	shards   []*shard
	// early is how many of the groups are summed over as soon as the last
	// gradient of a step is written.
	early int
	at    landmark
}

// bucketSize is how many elements a bucket has at least where its run goes on:
// 4 MiB, enough for bandwidth to outweigh latency.
const bucketSize = 1 << 20

// bySum returns the shards in the order of the groups that their gradients are
// summed over, so that equal groups are neighbours. All ranks agree on it.
func bySum(shards []*shard) []*shard {
	return slices.SortedStableFunc(slices.Values(shards), func(a, b *shard) int {
		return slices.Compare(a.SumOver, b.SumOver)
	})
}

// makeBuckets cuts the gradients into buckets at the borders of shards. What
// aligns shards is zero everywhere, so it may be summed along.
func makeBuckets(shards []*shard) []*bucket {
	var buckets []*bucket
	for _, s := range bySum(shards) {
		if len(s.SumOver) == 0 {
			continue
		}
		last := len(buckets) - 1
		if last < 0 || !slices.Equal(buckets[last].groups, s.SumOver) || buckets[last].to-buckets[last].from >= bucketSize {
			name := fmt.Sprintf("gradients from %s on", s.Param.Name)
			at := landmark{graph.Tag{Layer: s.Param.Layer, Name: name, Pass: graph.Backward}, (graph.AllReduce{}).Kind(), true}
			buckets = append(buckets, &bucket{groups: s.SumOver, from: s.offset, name: name, at: at})
			last++
		}
		buckets[last].to = s.offset + aligned(s.size)
		buckets[last].shards = append(buckets[last].shards, s)
	}
	return buckets
}
