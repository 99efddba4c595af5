package kernel

// Vocabulary is the part of a vocabulary that a table or rows of logits cover:
// Size ids from First of Whole.
type Vocabulary struct{ First, Size, Whole int }

// WholeVocabulary is all of a vocabulary of that many ids.
func WholeVocabulary(size int) Vocabulary { return Vocabulary{0, size, size} }

// row is where the part has an id, or has none of it. known is false for an id
// outside the whole vocabulary.
func (v Vocabulary) row(id int32) (row int, has, known bool) {
	row = int(id) - v.First
	return row, 0 <= row && row < v.Size, 0 <= id && int(id) < v.Whole
}
