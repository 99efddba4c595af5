package train

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"github.com/galvani-ml/galvani/data/tokenizer"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
)

// Conversion says what Convert wrote.
type Conversion struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Tensors int    `json:"tensors"`
	Logits  int    `json:"logits_compared"` // all equal, bit for bit
}

// Convert writes the model of a checkpoint, a run or a Hugging Face directory
// as a Hugging Face directory of one model.safetensors, and checks that both
// give the same logits. to must not exist or be empty. Training starts from
// such a directory with --init.
func Convert(ctx context.Context, from, to string) (*Conversion, error) {
	from, err := modelDir(from)
	if err != nil {
		return nil, err
	}
	if entries, err := os.ReadDir(to); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s: is not empty; name a new directory", to)
	}
	src, err := hf.Open(from)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if err := checkWeights(src); err != nil {
		return nil, err
	}
	var failed error
	if err := errors.Join(hf.Write(to, src.Config, tensorsOf(src, &failed)), failed); err != nil {
		return nil, err
	}
	t, err := tokenizer.Load(from)
	switch {
	case err == nil:
		err = tokenizer.Save(filepath.Join(to, "tokenizer.json"), t)
	case errors.Is(err, tokenizer.ErrNotFound):
		err = nil
	}
	if err != nil {
		return nil, err
	}
	c := &Conversion{From: from, To: to, Tensors: len(src.Names())}
	c.Logits, err = compareLogits(ctx, from, to)
	return c, err
}

// tensorsOf reads the parameters of a directory one after the other, and leaves
// the first error in failed.
func tensorsOf(dir *hf.Dir, failed *error) iter.Seq2[string, hf.Tensor] {
	return func(yield func(string, hf.Tensor) bool) {
		for _, name := range dir.Names() {
			info, _ := dir.Info(name)
			data := make([]float32, graph.Type{Shape: info.Shape}.Size())
			if err := dir.Load(name, data); err != nil {
				*failed = err
				return
			}
			if !yield(name, hf.Tensor{Shape: info.Shape, Data: data}) {
				return
			}
		}
	}
}

// compareLogits runs both models on one sequence and returns how many logits
// are equal: all, or it is an error.
func compareLogits(ctx context.Context, a, b string) (int, error) {
	x, err := probe(ctx, a)
	if err != nil {
		return 0, err
	}
	y, err := probe(ctx, b)
	if err != nil {
		return 0, err
	}
	for i := range x {
		if x[i] != y[i] {
			return 0, fmt.Errorf("%s: logit %d is %g, that of %s %g: the conversion is wrong", b, i, y[i], a, x[i])
		}
	}
	return len(x), nil
}

// probeTokens is the length of the sequence that logits are compared on.
const probeTokens = 16

// probe returns a model's logits on a fixed sequence.
func probe(ctx context.Context, path string) ([]float32, error) {
	dir, err := hf.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	seq := min(probeTokens, dir.Config.MaxSeq())
	model, err := models.Build(dir.Config, models.Options{Batch: 1, Seq: seq})
	if err != nil {
		return nil, err
	}
	backend, err := cpu.New(0)
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	m, err := forwardMachine(dir, backend, model)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	for i := range seq {
		m.Input(0, graph.InputTokens).Ints[i] = int32(i * 31 % dir.Config.Vocab())
	}
	if err := m.Forward(ctx, exec.MicroBatch{}); err != nil {
		return nil, err
	}
	return append([]float32{}, m.Logits(0)...), nil
}
