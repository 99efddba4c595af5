package data

import (
	"fmt"
	"slices"
)

// masker hides tokens for the masked objective, as BERT does (Devlin et al. 2019, section 3.1): of the
// positions that hold no special token 15 % are chosen, each by itself, and at least one a row. A chosen
// token becomes [MASK] in 80 % of the cases, a random token in 10 %, and stays in 10 %.
type masker struct {
	seed    uint64
	mask    int32
	vocab   int
	special []int // sorted, distinct
}

func newMasker(seed uint64, mask, vocab int, special []int) (*masker, error) {
	special = slices.Compact(slices.Sorted(slices.Values(append([]int{mask}, special...))))
	if special[0] < 0 || special[len(special)-1] >= vocab {
		return nil, fmt.Errorf("data: masking: mask token %d and special tokens %v must be inside the vocabulary of %d", mask, special, vocab)
	}
	if len(special) == vocab {
		return nil, fmt.Errorf("data: masking: all %d tokens are special", vocab)
	}
	return &masker{seed, int32(mask), vocab, special}, nil
}

// apply masks a row in place, writes its targets, and returns how many there are: none only where all
// tokens are special. It is a pure function of the seed, purpose, step and row.
func (m *masker) apply(purpose uint64, step, row int, inputs, targets []int32) int {
	const chosen = (3 << 64) / 20 // 15 % of 2^64
	key := draw(m.seed, purpose, uint64(step), uint64(row))
	count, spare, least := 0, -1, uint64(0)
	for i, id := range inputs {
		targets[i] = Ignored
		if m.isSpecial(id) {
			continue
		}
		h := draw(key, uint64(i))
		if h < chosen {
			m.hide(h, i, inputs, targets)
			count++
		}
		if spare < 0 || h < least {
			spare, least = i, h
		}
	}
	if count == 0 && spare >= 0 {
		m.hide(least, spare, inputs, targets)
		count = 1
	}
	return count
}

// hide makes position i a target.
func (m *masker) hide(h uint64, i int, inputs, targets []int32) {
	targets[i] = inputs[i]
	switch fate := below(mix(h+1), 10); {
	case fate < 8:
		inputs[i] = m.mask
	case fate == 8:
		inputs[i] = m.random(mix(h + 2))
	}
}

// random picks a token that is not special.
func (m *masker) random(bits uint64) int32 {
	id := int(below(bits, uint64(m.vocab-len(m.special))))
	for _, s := range m.special {
		if id >= s {
			id++
		}
	}
	return int32(id)
}

func (m *masker) isSpecial(id int32) bool {
	_, ok := slices.BinarySearch(m.special, int(id))
	return ok
}
