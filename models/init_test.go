package models_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// TestInit looks at the moments of fresh weights, and that a value depends on
// seed, name and index alone.
func TestInit(t *testing.T) {
	cfg, err := models.WithVocab(preset(t, "gpt-micro"), 1000)
	if err != nil {
		t.Fatal(err)
	}
	m, err := models.Build(cfg, models.Options{Batch: 1, Seq: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Params {
		x := make([]float32, p.Size())
		models.InitValue(p, 7, x)
		checkMoments(t, p, x)
		y := make([]float32, 1+p.Size()/3)
		models.InitValue(p, 7, y)
		if diff := cmp.Diff(x[:len(y)], y); diff != "" {
			t.Fatalf("%s: its first %d elements differ alone: %s", p.Name, len(y), diff)
		}
	}
	a, b, c := make([]float32, 9), make([]float32, 9), make([]float32, 9)
	models.InitValue(m.Params[0], 7, a)
	models.InitValue(m.Params[0], 8, b)
	models.InitValue(m.Params[1], 7, c)
	if cmp.Equal(a, b) || cmp.Equal(a, c) {
		t.Error("another seed or name gives the same values")
	}
	want := []float32{-0.011703186, 0.02314135, 0.016343543}
	if diff := cmp.Diff(want, a[:3]); diff != "" {
		t.Errorf("the values of seed 7 have changed: %s", diff)
	}
}

// checkMoments compares mean and standard deviation with those asked for.
func checkMoments(t *testing.T, p *graph.Param, x []float32) {
	t.Helper()
	var sum, squares float64
	for _, v := range x {
		sum += float64(v)
		squares += (float64(v) - p.Init.Mean) * (float64(v) - p.Init.Mean)
	}
	n := float64(len(x))
	mean, std := sum/n, math.Sqrt(squares/n)
	if e := 5 * p.Init.Std / math.Sqrt(n); math.Abs(mean-p.Init.Mean) > e || math.Abs(std-p.Init.Std) > e {
		t.Errorf("%s: mean %g, standard deviation %g, want %+v", p.Name, mean, std, p.Init)
	}
}

// TestShards compares the runs, and the fresh values, of random shards with
// indexing element by element.
func TestShards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &graph.Param{Name: "w", Init: graph.Init{Mean: 1, Std: 0.5}}
		s := &graph.Shard{Param: p}
		for range rapid.IntRange(1, 4).Draw(t, "dims") {
			count := rapid.IntRange(1, 3).Draw(t, "count")
			p.Shape = append(p.Shape, count*rapid.IntRange(1, 3).Draw(t, "part"))
			s.Parts = append(s.Parts, graph.Part{Index: rapid.IntRange(0, count-1).Draw(t, "index"), Count: count})
		}
		whole := make([]float32, p.Size())
		models.InitValue(p, 3, whole)
		var want []float32
		for e, v := range whole {
			if inShard(e, s) {
				want = append(want, v)
			}
		}
		got := make([]float32, len(want))
		if err := models.InitShard(s, 3, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		runs, err := models.Runs(p.Shape, s.Parts)
		if err != nil {
			t.Fatal(err)
		}
		for offset := range runs {
			if offset < 0 || offset >= p.Size() {
				t.Fatalf("a run starts at %d of %d elements", offset, p.Size())
			}
			break // an iterator must bear being left
		}
	})
}

// inShard reports whether element e of the whole is in s.
func inShard(e int, s *graph.Shard) bool {
	for d := len(s.Param.Shape) - 1; d >= 0; d-- {
		size := s.Param.Shape[d]
		if i := e % size; i/(size/s.Parts[d].Count) != s.Parts[d].Index {
			return false
		}
		e /= size
	}
	return true
}

func TestShardErrors(t *testing.T) {
	p := &graph.Param{Name: "w", Shape: []int{6, 4}}
	for _, c := range []struct {
		parts []graph.Part
		room  int
		want  string
	}{
		{[]graph.Part{{Index: 0, Count: 4}}, 6, "w: models: part 0 of 4 of dimension 0 of [6 4] is none"},
		{[]graph.Part{{Index: 2, Count: 2}}, 12, "w: models: part 2 of 2 of dimension 0 of [6 4] is none"},
		{make([]graph.Part, 3), 24, "w: models: a shard has 3 parts, its tensor 2 dimensions"},
		{[]graph.Part{{Index: 0, Count: 1}, {Index: 1, Count: 2}}, 11, "models: w: the shard is larger than its 11 elements of memory"},
	} {
		err := models.InitShard(&graph.Shard{Param: p, Parts: c.parts}, 0, make([]float32, c.room))
		if err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
