package train

import (
	"context"
	"errors"
	"fmt"

	"github.com/galvani-ml/galvani/data/tokenizer"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
	"github.com/galvani-ml/galvani/train/sampling"
)

// prefillTokens is how many tokens of a prompt go through the model at once.
const prefillTokens = 64

// Generator continues texts with a causal model, keeping the keys and values
// of the tokens so far. It is used by one goroutine at a time.
type Generator struct {
	tokenizer tokenizer.Tokenizer
	model     models.Config
	backend   *cpu.Backend
	decode    *exec.Machine // one token, to the logits
	prefill   *exec.Machine // prefillTokens tokens, no logits; nil for short contexts
	states    []string
}

// OpenGenerator loads a Hugging Face directory, a checkpoint or the newest
// checkpoint of a run.
func OpenGenerator(path string) (_ *Generator, err error) {
	path, err = modelDir(path)
	if err != nil {
		return nil, err
	}
	dir, err := hf.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if masked(dir.Config) {
		return nil, fmt.Errorf("%s: a %s model fills in hidden tokens and does not generate text; `galvani eval` measures it", path, dir.Config.Type())
	}
	if err := checkWeights(dir); err != nil {
		return nil, err
	}
	g := &Generator{model: dir.Config}
	if g.tokenizer, err = tokenizer.Load(path); err != nil {
		return nil, err
	}
	if g.backend, err = cpu.New(0); err != nil {
		return nil, err
	}
	if err := g.compile(dir); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// compile builds the two machines over the same parameters.
func (g *Generator) compile(dir *hf.Dir) error {
	o := models.DecodeOptions{Batch: 1, Tokens: 1, Cache: g.model.MaxSeq(), Head: true}
	model, err := models.BuildDecoder(g.model, o)
	if err != nil {
		return err
	}
	for _, s := range model.States {
		g.states = append(g.states, s.Name)
	}
	if g.decode, err = forwardMachine(dir, g.backend, model); err != nil {
		return err
	}
	if o.Cache < prefillTokens {
		return nil
	}
	o.Tokens, o.Head = prefillTokens, false
	if model, err = models.BuildDecoder(g.model, o); err != nil {
		return err
	}
	program, err := exec.Compile(graph.Whole(model), g.backend, exec.Options{Borrow: true})
	if err != nil {
		return err
	}
	g.prefill, err = exec.Borrow(program, nil, g.decode)
	return err
}

// Close frees the model.
func (g *Generator) Close() {
	for _, m := range []*exec.Machine{g.prefill, g.decode} {
		if m != nil {
			m.Close()
		}
	}
	g.backend.Close()
}

// Generate returns up to n tokens that follow prompt, without the prompt. It
// ends early at the end-of-text token. emit, if not nil, gets the text as it
// grows. An empty prompt stands for the start of a document.
func (g *Generator) Generate(ctx context.Context, prompt string, n int, o sampling.Options, emit func(text string)) (string, error) {
	if err := o.Validate(); err != nil {
		return "", err
	}
	end, hasEnd := g.tokenizer.ID("<|endoftext|>")
	ids := g.tokenizer.Encode(prompt)
	if len(ids) == 0 {
		if !hasEnd {
			return "", errors.New("the prompt is empty, and the tokenizer has no <|endoftext|> to start from: give a prompt")
		}
		ids = []int{end}
	}
	sampler, stream := sampling.New(o), tokenizer.NewStream(g.tokenizer)
	text := ""
	push := func(s string) {
		text += s
		if emit != nil && s != "" {
			emit(s)
		}
	}
	cached := 0 // tokens of ids that are in the cache
	for range n {
		logits, err := g.advance(ctx, &ids, &cached)
		if err != nil {
			return text, err
		}
		id := sampler.Next(logits)
		if hasEnd && id == end {
			break
		}
		ids = append(ids, id)
		push(stream.Push(id))
	}
	push(stream.Flush())
	return text, nil
}

// advance runs the tokens that are not in the cache and returns the logits
// after the last. When the context is full it goes on with its newer half.
func (g *Generator) advance(ctx context.Context, ids *[]int, cached *int) ([]float32, error) {
	if limit := g.model.MaxSeq(); len(*ids) > limit {
		*ids = (*ids)[len(*ids)-(limit+1)/2:]
		*cached = 0
	}
	for g.prefill != nil && len(*ids)-1-*cached >= prefillTokens {
		if err := g.runPrefill(ctx, (*ids)[*cached:][:prefillTokens], *cached); err != nil {
			return nil, err
		}
		*cached += prefillTokens
	}
	for ; *cached < len(*ids); *cached++ {
		if err := g.feed(g.decode, (*ids)[*cached:][:1], *cached); err != nil {
			return nil, err
		}
		if err := g.decode.Forward(ctx, exec.MicroBatch{Index: *cached}); err != nil {
			return nil, err
		}
	}
	return g.decode.Logits(0), nil
}

// runPrefill fills the cache of decode with a run of tokens.
func (g *Generator) runPrefill(ctx context.Context, ids []int, start int) error {
	for _, s := range g.states {
		copy(g.prefill.State(s), g.decode.State(s))
	}
	if err := g.feed(g.prefill, ids, start); err != nil {
		return err
	}
	if err := g.prefill.Forward(ctx, exec.MicroBatch{Index: start}); err != nil {
		return err
	}
	for _, s := range g.states {
		copy(g.decode.State(s), g.prefill.State(s))
	}
	return nil
}

// feed writes tokens and their first position to a machine's inputs.
func (g *Generator) feed(m *exec.Machine, ids []int, start int) error {
	tokens := m.Input(0, graph.InputTokens).Ints
	for i, id := range ids {
		if id >= g.model.Vocab() {
			return fmt.Errorf("token %d is outside the model's vocabulary of %d: the tokenizer is another model's", id, g.model.Vocab())
		}
		tokens[i] = int32(id)
	}
	m.Input(0, graph.InputStart).Ints[0] = int32(start)
	return nil
}
