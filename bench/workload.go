package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/models"
)

// workload is a training step to be measured: of a GPT-2 on one micro-batch of
// random tokens, the same in each step.
type workload struct {
	Label  string `json:"label"` // the name to ask for it by
	Layers int    `json:"layers"`
	Width  int    `json:"width"`
	Heads  int    `json:"heads"`
	Seq    int    `json:"seq"`
	Batch  int    `json:"batch"`
	Vocab  int    `json:"vocab"`
	Tied   bool   `json:"tied"`   // the head multiplies by the token embedding
	Update bool   `json:"update"` // take a step of AdamW after the backward pass
	// Precision is that of matrix products; empty for float32.
	Precision string `json:"precision,omitempty"`
	// Dropout is its probability, on our side; no peer has any.
	Dropout float64 `json:"dropout,omitempty"`
	// Passes of our compiler: which are left out, and which are done besides the
	// usual ones.
	DisablePass []exec.Pass `json:"disable_pass,omitempty"`
	EnablePass  []exec.Pass `json:"enable_pass,omitempty"`
}

// The named workloads.
var (
	small      = workload{Label: "small", Layers: 4, Width: 256, Heads: 4, Seq: 128, Batch: 8, Vocab: 1024}
	smallStep  = small.updated()
	character  = workload{Label: "char", Layers: 6, Width: 384, Heads: 6, Seq: 256, Batch: 8, Vocab: 65, Tied: true, Update: true}
	gpt2Short  = workload{Label: "gpt2-124m-t64", Layers: 12, Width: 768, Heads: 12, Seq: 64, Batch: 4, Vocab: 50257, Tied: true, Update: true}
	gpt2Longer = workload{Label: "gpt2-124m-t256", Layers: 12, Width: 768, Heads: 12, Seq: 256, Batch: 4, Vocab: 50257, Tied: true, Update: true}

	workloads = []workload{smallStep, small, character, gpt2Short, gpt2Longer}
)

// all is the name of all workloads together.
const all = "all"

// Workloads are the names that [TrainOptions] knows, "all" of them last.
func Workloads() []string {
	var names []string
	for _, w := range workloads {
		if !slices.Contains(names, w.Label) {
			names = append(names, w.Label)
		}
	}
	return append(names, all)
}

// chosen are the workloads of the names, in the order of the list above.
func chosen(names []string) ([]workload, error) {
	known := Workloads()
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("bench: no workload is named %q: there are %s", n, strings.Join(known, ", "))
		}
	}
	var ws []workload
	for _, w := range workloads {
		if slices.Contains(names, w.Label) || slices.Contains(names, all) {
			ws = append(ws, w)
		}
	}
	return ws, nil
}

// AdamW's constants, on all sides. There is no weight decay.
const (
	learningRate = 3e-4
	beta1        = 0.9
	beta2        = 0.95
	epsilon      = 1e-8
)

// setup is what a child is told first.
type setup struct {
	workload
	Rate    float64 `json:"rate"`
	Beta1   float64 `json:"beta1"`
	Beta2   float64 `json:"beta2"`
	Epsilon float64 `json:"epsilon"`
}

func (w workload) setup() setup { return setup{w, learningRate, beta1, beta2, epsilon} }

// Where parameters and tokens start.
const seed = 1

// updated is w with an update.
func (w workload) updated() workload {
	w.Update = true
	return w
}

// Name tells the step and all sizes.
func (w workload) Name() string {
	step := "backward"
	if w.Update {
		step = "step"
	}
	name := fmt.Sprintf("%s-gpt-L%d-C%d-H%d-T%d-B%d-V%d", step, w.Layers, w.Width, w.Heads, w.Seq, w.Batch, w.Vocab)
	if w.Tied {
		name += "-tied"
	}
	if w.Precision != "" {
		name += "-" + w.Precision
	}
	if w.Dropout > 0 {
		name += fmt.Sprintf("-dropout-%g", w.Dropout)
	}
	for _, pass := range w.DisablePass {
		name += "-no-" + string(pass)
	}
	for _, pass := range w.EnablePass {
		name += "-" + string(pass)
	}
	return name
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
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: w.Tied,
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
