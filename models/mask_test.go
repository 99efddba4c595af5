package models_test

import (
	"math/rand/v2"
	"testing"

	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// TestPaddingIsHidden shows that what stands at a masked position changes the
// logits of that position only, and that otherwise it changes all that may see
// it.
func TestPaddingIsHidden(t *testing.T) {
	const seq, at = 5, 2
	for _, c := range []struct {
		cfg    models.Config
		masked int32
		sees   func(t int) bool
	}{
		{tinyBERT(true), 0, func(t int) bool { return t == at }},
		{tinyBERT(true), 1, func(int) bool { return true }},
		{tinyGPT(true), 0, func(t int) bool { return t == at }},
		{tinyGPT(true), 1, func(t int) bool { return t >= at }},
	} {
		m, err := models.Build(c.cfg, models.Options{Batch: 1, Seq: seq, Mask: true, Dtype: tensor.Float64})
		if err != nil {
			t.Fatal(err)
		}
		f := drawn(rand.New(rand.NewPCG(7, 8)), m, c.cfg.Vocab())
		mask := []int32{1, 1, 1, 1, 1}
		mask[at] = c.masked
		f[m.Input(graph.InputMask).Node] = mask
		before := plain(t, f, m.Logits)[0]
		tokens := f[m.Input(graph.InputTokens).Node].([]int32)
		tokens[at] = (tokens[at] + 1) % int32(c.cfg.Vocab())
		after := plain(t, f, m.Logits)[0]
		for p := range seq {
			changed := false
			for v := p * c.cfg.Vocab(); v < (p+1)*c.cfg.Vocab(); v++ {
				changed = changed || before[v] != after[v]
			}
			if changed != c.sees(p) {
				t.Errorf("%s, mask %d: position %d changes: %v", c.cfg.Type(), c.masked, p, changed)
			}
		}
	}
}
