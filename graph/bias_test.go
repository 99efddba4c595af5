package graph

import (
	"math/rand/v2"
	"strings"
	"testing"

	G "gorgonia.org/gorgonia"
)

func TestAddBiasGradient(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	g := G.NewGraph()
	x, b := leaf(g, "x", f64(2, 3, 2, 4)), leaf(g, "b", f64(2, 4))
	out, err := Apply(AddBias{}, Tag{Name: "bias"}, x, b)
	if err != nil {
		t.Fatal(err)
	}
	dy := leaf(g, "dy", TypeOf(out))
	data := values{x: drawn(r, TypeOf(x), nil), b: drawn(r, TypeOf(b), nil), dy: drawn(r, TypeOf(out), nil)}
	checkGradients(t, g, data, out, dy, []*G.Node{x, b})
}

func TestAddBiasRefuses(t *testing.T) {
	g := G.NewGraph()
	x := leaf(g, "x", f64(2, 3))
	for name, b := range map[string]*G.Node{
		"wrong size": leaf(g, "b2", f64(2)),
		"scalar":     leaf(g, "b0", f64()),
		"too deep":   leaf(g, "b3", f64(1, 2, 3)),
	} {
		if _, err := Apply(AddBias{}, Tag{Name: "bias"}, x, b); err == nil || !strings.Contains(err.Error(), "bias") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
