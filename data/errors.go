package data

import "fmt"

// CorruptError says that a file is not what its size or header promises, most often because it was cut short.
type CorruptError struct {
	Path      string
	Want, Got int64 // bytes
	Reason    string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("data: %s: %s: expected %d bytes, found %d", e.Path, e.Reason, e.Want, e.Got)
}

// ShortError says that there are too few tokens for one batch.
type ShortError struct {
	Path       string
	Need, Have int // tokens
	Batch, Seq int
}

func (e *ShortError) Error() string {
	return fmt.Sprintf("data: %s: has %d tokens for training, but batch %d and sequence length %d need %d: use more data, a smaller batch or shorter sequences",
		e.Path, e.Have, e.Batch, e.Seq, e.Need)
}

// IDError says that a token is outside the model's vocabulary.
type IDError struct {
	Path      string
	Position  int // tokens from the start of the file
	ID        int
	VocabSize int
}

func (e *IDError) Error() string {
	return fmt.Sprintf("data: %s: token %d has id %d, outside the model's vocabulary of %d: was the file made with another tokenizer?",
		e.Path, e.Position, e.ID, e.VocabSize)
}
