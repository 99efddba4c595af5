package parallel

import (
	"fmt"
	"maps"
	"testing"

	"github.com/galvani-ml/galvani/graph"
)

// TestBorder compares what is exchanged between layers of different strategies
// with the graphs of models whose second half has another strategy than the
// first.
func TestBorder(t *testing.T) {
	toy := gpt(4, 8, 12)
	toy.free = true
	facts := FactsOf(toy.build(t))
	strategies := []string{
		"dp=2,tp=2", "dp=2,tp=2,order=tp,dp", "dp=2,sp=2", "dp=2,sp=2,order=sp,dp", "dp=2,cp=2,zero=3",
		"dp=2,tp=2,sequence_parallel=on", "cp=2,tp=2,sequence_parallel=on",
	}
	for _, from := range strategies {
		for _, to := range strategies {
			mixed := plan(t, fmt.Sprintf("layers=0-2:%s;3-5:%s", from, to))
			want := activations(t, toy, mixed, 0)
			for i, s := range []string{from, to} { // what each half does by itself
				uniform := activations(t, toy, plan(t, fmt.Sprintf("layers=0-5:%s", s)), 0)
				for key, n := range uniform {
					if (key.layer < 3) == (i == 0) {
						want[key] -= n
					}
				}
			}
			whole := int64(toy.batch * toy.seq * toyC)
			got := map[string]int64{}
			exchanges, err := facts.Border(2, mixed.Layers[2], mixed.Layers[3])
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range exchanges {
				got[fmt.Sprint(e.Kind, e.Pass)] += whole / int64(e.Parts) * int64(e.Ranks-1) / int64(e.Ranks)
			}
			sums := map[string]int64{}
			for key, n := range want {
				if sums[key.what] += n; sums[key.what] == 0 {
					delete(sums, key.what)
				}
			}
			if !maps.Equal(got, sums) {
				t.Errorf("%s, then %s: %v are exchanged, the graph has %v", from, to, got, sums)
			}
		}
	}
}

// exchangeOf is an exchange of activations in a layer.
type exchangeOf struct {
	layer int
	what  string
}

// activations sums the elements that a rank sends of activations in gathers and
// all-to-alls.
func activations(t *testing.T, toy toy, p *Plan, rank int) map[exchangeOf]int64 {
	t.Helper()
	part, err := Partition(toy.build(t), p, rank)
	if err != nil {
		t.Fatal(err)
	}
	if err := part.Differentiate(); err != nil {
		t.Fatal(err)
	}
	sent := map[exchangeOf]int64{}
	forward, backward := part.Stage.Roots()
	for _, n := range graph.Order(append(forward, backward...)...) {
		op := graph.OpOf(n)
		if op == nil || op.In()[0].Dims() != 3 || op.In()[0].Shape[2] != toyC {
			continue
		}
		key := exchangeOf{op.Tag.Layer, fmt.Sprint(op.Spec.Kind(), op.Tag.Pass)}
		size := int64(op.In()[0].Size())
		switch s := op.Spec.(type) {
		case graph.AllGather:
			sent[key] += size * int64(s.Axis.Size-1)
		case graph.AllToAll:
			sent[key] += size * int64(s.Axis.Size-1) / int64(s.Axis.Size)
		}
	}
	return sent
}
