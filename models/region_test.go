package models_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// TestCover loses, repeats and widens shards, and compares with counting,
// element by element.
func TestCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &graph.Param{Name: "w"}
		shards := [][]graph.Part{nil}
		for range rapid.IntRange(0, 3).Draw(t, "dims") {
			count := rapid.IntRange(1, 3).Draw(t, "count")
			p.Shape = append(p.Shape, count*rapid.IntRange(1, 3).Draw(t, "part"))
			var longer [][]graph.Part
			for _, parts := range shards {
				for i := range count {
					longer = append(longer, append(slices.Clone(parts), graph.Part{Index: i, Count: count}))
				}
			}
			shards = longer
		}
		if err := models.CheckCover(p, shards); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			i := rapid.IntRange(0, len(shards)-1).Draw(t, "which")
			switch rapid.SampledFrom([]string{"lose", "repeat", "widen"}).Draw(t, "change") {
			case "lose":
				if len(shards) > 1 {
					shards = slices.Delete(shards, i, i+1)
				}
			case "repeat":
				shards = append(shards, shards[i])
			case "widen":
				shards[i] = slices.Clone(shards[i])
				for d := range shards[i] {
					if rapid.Bool().Draw(t, "whole") {
						shards[i][d] = graph.Part{}
					}
				}
			}
		}
		once := everyElementOnce(t, p, shards)
		if err := models.CheckCover(p, shards); (err == nil) != once {
			t.Fatalf("%v of %v: %v; every element once: %t", shards, p.Shape, err, once)
		}
	})
}

func everyElementOnce(t *rapid.T, p *graph.Param, shards [][]graph.Part) bool {
	times := make([]int, p.Size())
	for _, parts := range shards {
		runs, err := models.Runs(p.Shape, parts)
		if err != nil {
			t.Fatal(err)
		}
		for offset, n := range runs {
			for e := range n {
				times[offset+e]++
			}
		}
	}
	return !slices.ContainsFunc(times, func(n int) bool { return n != 1 })
}

func TestCoverErrors(t *testing.T) {
	p := &graph.Param{Name: "w", Shape: []int{6, 4}}
	for _, c := range []struct {
		shards [][]graph.Part
		want   string
	}{
		{nil, "models: w: 24 of its 24 elements are in no shard"},
		{[][]graph.Part{{{Index: 0, Count: 3}}, {{Index: 2, Count: 3}}}, "models: w: 8 of its 24 elements are in no shard"},
		{[][]graph.Part{{{}, {Index: 0, Count: 2}}, {{Index: 1, Count: 2}, {}}}, "models: w: two shards overlap: [0/1 0/2] and [1/2 0/1]"},
		{[][]graph.Part{{{Index: 0, Count: 5}}}, "w: models: part 0 of 5 of dimension 0 of [6 4] is none"},
	} {
		if err := models.CheckCover(p, c.shards); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
