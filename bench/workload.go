package bench

import (
	"fmt"
	"math/rand/v2"

	"github.com/galvani-ml/galvani/models"
)

// workload is a training step to be measured: of a GPT-2 with an untied head,
// on one micro-batch of random tokens, the same in each step.
type workload struct {
	Layers int  `json:"layers"`
	Width  int  `json:"width"`
	Heads  int  `json:"heads"`
	Seq    int  `json:"seq"`
	Batch  int  `json:"batch"`
	Vocab  int  `json:"vocab"`
	Update bool `json:"update"` // take a step of Adam after the backward pass
}

// small is the size that the training suite measures.
var small = workload{Layers: 4, Width: 256, Heads: 4, Seq: 128, Batch: 8, Vocab: 1024}

// Adam's constants, on both sides. There is no weight decay.
const (
	learningRate = 3e-4
	beta1        = 0.9
	beta2        = 0.95
	epsilon      = 1e-8
)

// Where parameters and tokens start.
const seed = 1

// Name tells the step and all sizes.
func (w workload) Name() string {
	step := "backward"
	if w.Update {
		step = "step"
	}
	return fmt.Sprintf("%s-gpt-L%d-C%d-H%d-T%d-B%d-V%d", step, w.Layers, w.Width, w.Heads, w.Seq, w.Batch, w.Vocab)
}

// Tokens is the number of tokens a step.
func (w workload) Tokens() int { return w.Batch * w.Seq }

// FLOPs is the number of floating-point operations that a step needs, by
// [models.FLOPsPerToken]; the update's are not counted.
func (w workload) FLOPs() float64 {
	return float64(w.Tokens()) * models.FLOPsPerToken(w.config(), w.Seq)
}

func (w workload) config() *models.GPTConfig {
	return &models.GPTConfig{
		VocabSize: w.Vocab, NPositions: w.Seq, NEmbd: w.Width, NLayer: w.Layers, NHead: w.Heads,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.02,
	}
}

// data draws the tokens and targets, each [B, T].
func (w workload) data() (tokens, targets []int32) {
	r := rand.New(rand.NewPCG(seed, 0))
	for range w.Tokens() {
		tokens = append(tokens, r.Int32N(int32(w.Vocab)))
		targets = append(targets, r.Int32N(int32(w.Vocab)))
	}
	return tokens, targets
}
