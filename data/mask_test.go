package data

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMaskRates(t *testing.T) {
	m := must(newMasker(7, 3, 1000, []int{0, 1, 2}))
	inputs, targets := make([]int32, 512), make([]int32, 512)
	total, chosen, masked, kept := 0, 0, 0, 0
	for row := range 200 {
		for i := range inputs {
			inputs[i] = int32(4 + (row+i)%900)
		}
		original := slices.Clone(inputs)
		n := m.apply(forMask, 1, row, inputs, targets)
		for i, target := range targets {
			switch {
			case target == Ignored && inputs[i] != original[i]:
				t.Fatal("a token that is no target was changed")
			case target == Ignored:
				continue
			case target != original[i]:
				t.Fatal("a target is not the original token")
			case inputs[i] == 3:
				masked++
			case inputs[i] == original[i]:
				kept++
			case inputs[i] < 3:
				t.Fatal("a random token is special")
			}
			n--
			chosen++
		}
		if n != 0 {
			t.Fatalf("count is wrong by %d", n)
		}
		total += len(inputs)
	}
	within := func(name string, got, of int, want float64) {
		if rate := float64(got) / float64(of); rate < want-0.015 || rate > want+0.015 {
			t.Errorf("%s: %.3f, want %.2f", name, rate, want)
		}
	}
	within("chosen", chosen, total, 0.15)
	within("masked", masked, chosen, 0.8)
	within("kept", kept, chosen, 0.1)
}

func TestMaskProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		special := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 5).Draw(t, "special")
		m := must(newMasker(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 9).Draw(t, "mask"), 11, special))
		inputs := rapid.SliceOfN(rapid.Int32Range(0, 10), 1, 12).Draw(t, "inputs")
		original, targets := slices.Clone(inputs), make([]int32, len(inputs))
		n := m.apply(forMask, 5, 6, inputs, targets)
		if all := !slices.ContainsFunc(original, func(id int32) bool { return !m.isSpecial(id) }); (n == 0) != all {
			t.Fatalf("%d targets in %v with special %v", n, original, m.special)
		}
		for i, target := range targets {
			if m.isSpecial(original[i]) && (target != Ignored || inputs[i] != original[i]) {
				t.Fatalf("special token %d at %d was hidden", original[i], i)
			}
			if inputs[i] != original[i] && inputs[i] != m.mask && m.isSpecial(inputs[i]) {
				t.Fatalf("a random token is the special %d", inputs[i])
			}
		}
		again, targets2 := slices.Clone(original), make([]int32, len(original))
		m.apply(forMask, 5, 6, again, targets2)
		if !slices.Equal(again, inputs) || !slices.Equal(targets, targets2) {
			t.Fatal("the same step and row give another mask")
		}
	})
}

func TestMaskErrors(t *testing.T) {
	for _, c := range []struct {
		mask, vocab int
		special     []int
		want        string
	}{
		{10, 10, nil, "inside the vocabulary of 10"},
		{-1, 10, nil, "inside the vocabulary of 10"},
		{0, 10, []int{12}, "inside the vocabulary of 10"},
		{0, 2, []int{1}, "all 2 tokens are special"},
	} {
		if _, err := newMasker(1, c.mask, c.vocab, c.special); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error = %v, want %q", err, c.want)
		}
	}
}
