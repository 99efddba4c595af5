package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/galvani-ml/galvani/data"
	"github.com/galvani-ml/galvani/data/tokenizer"
	"github.com/galvani-ml/galvani/internal/inputfile"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/planning"
)

// setup is what a run needs before any worker starts.
type setup struct {
	config    Config
	say       func(name, format string, args ...any) // tells the user
	model     models.Config
	tokenizer tokenizer.Tokenizer // nil where the data is tokens and nothing brings one
	data      *data.Dataset
	entropy   float64      // of the training tokens as unigrams, in nats
	options   data.Options // for workers
	plan      *parallel.Plan
	reasons   []string        // why this plan; none where the user gave it
	found     *planning.Found // by --plan auto; nil where the user gave one
	version   string          // of this program
	profiles  []string        // names of the files in the cache with what was measured of this machine; a hash is in each
	manifest  *Manifest       // of the checkpoint to resume from, nil to start anew
	weights   string          // directory of the first parameters; empty to draw them
}

// newSetup prepares a run. say tells the user what takes long.
func newSetup(ctx context.Context, c Config, version string, say func(name, format string, args ...any)) (_ *setup, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &setup{config: c, weights: c.Init, version: version, say: say}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if c.Resume {
		if s.weights, s.manifest, err = LatestCheckpoint(c.Out); err != nil {
			return nil, fmt.Errorf("--resume: %w", err)
		}
		if s.manifest.Step >= c.Steps {
			return nil, fmt.Errorf("--resume: the run has taken %d steps already; ask for more with --steps", s.manifest.Step)
		}
	}
	for _, prepare := range []func(context.Context) error{
		s.openModel, s.takePlan, s.checkRecord, s.openTokenizer, s.sizeModel, s.openData, s.findPlan,
	} {
		if err := prepare(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *setup) close() {
	if s.data != nil {
		s.data.Close()
	}
}

// openModel finds the configuration of the model.
func (s *setup) openModel(context.Context) (err error) {
	if s.weights == "" {
		s.model, err = models.Preset(s.config.Model)
		return err
	}
	if s.weights, err = modelDir(s.weights); err != nil {
		return err
	}
	dir, err := hf.Open(s.weights)
	if err != nil {
		return err
	}
	defer dir.Close()
	s.model = dir.Config
	return checkWeights(dir)
}

// checkWeights compares a directory with the model that its configuration
// describes.
func checkWeights(dir *hf.Dir) error {
	model, err := models.Build(dir.Config, models.Options{Batch: 1, Seq: 1})
	if err != nil {
		return err
	}
	return dir.Check(model)
}

// modelDir resolves a run's directory to that of its newest checkpoint.
func modelDir(dir string) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, checkpointsDir)); err == nil {
		latest, _, err := LatestCheckpoint(dir)
		return latest, err
	}
	return dir, nil
}

// openTokenizer loads the tokenizer that the model brings, or trains one where
// the data is text.
func (s *setup) openTokenizer(ctx context.Context) error {
	if s.weights != "" {
		t, err := tokenizer.Load(s.weights)
		if err == nil {
			s.tokenizer = t
			return nil
		}
		if !errors.Is(err, tokenizer.ErrNotFound) {
			return err
		}
	}
	if isTokens(s.config.Data) {
		return nil
	}
	corpus, err := data.OpenCorpus(ctx, s.config.Data)
	if err != nil {
		return err
	}
	if s.weights != "" {
		return fmt.Errorf("--init %s: it has no tokenizer, and --data %s is text; add its tokenizer.json, or give tokens in a .bin file", s.weights, s.config.Data)
	}
	s.say("tokenizer", "byte-level BPE of %d tokens, trained on %s (kept for the next run)", s.config.Vocab, s.config.Data)
	s.tokenizer, err = data.TrainTokenizer(ctx, corpus, tokenizer.TrainOptions{
		VocabSize: s.config.Vocab, Special: specialTokens(s.model),
	}, "")
	return err
}

func isTokens(path string) bool { return filepath.Ext(path) == ".bin" }

// specialTokens are those that a kind of model is trained with.
func specialTokens(m models.Config) []string {
	if masked(m) {
		return []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
	}
	return []string{"<|endoftext|>"}
}

// masked reports whether the model learns to predict hidden tokens.
func masked(m models.Config) bool { return m.Type() == "bert" }

// sizeModel fits a model trained from scratch to its tokenizer and sequences.
func (s *setup) sizeModel(context.Context) (err error) {
	if s.weights != "" {
		if n := s.model.Vocab(); s.tokenizer != nil && s.tokenizer.VocabSize() > n {
			return fmt.Errorf("%s: the tokenizer has %d tokens, the model a vocabulary of %d", s.weights, s.tokenizer.VocabSize(), n)
		}
		if s.config.Seq > s.model.MaxSeq() {
			return fmt.Errorf("--seq %d: the model of %s has %d positions", s.config.Seq, s.weights, s.model.MaxSeq())
		}
		return nil
	}
	if s.tokenizer != nil {
		if s.model, err = models.WithVocab(s.model, s.tokenizer.VocabSize()); err != nil {
			return err
		}
	}
	// Positions past the sequences would never be trained.
	s.model, err = models.WithPositions(s.model, s.config.Seq)
	return err
}

// openData tokenizes the data where it must be, and checks it.
func (s *setup) openData(ctx context.Context) error {
	o, err := dataOptions(s.model, s.tokenizer, s.config.Data, s.config.Labels)
	if err != nil {
		return err
	}
	o.Order, o.Seed = data.Order(s.config.DataOrder), s.config.Seed
	o.Batch, o.Seq = s.config.Batch, s.config.Seq
	if s.data, err = data.Open(ctx, o); err != nil {
		return err
	}
	o.Source, o.Tokenizer, o.Trusted = s.data.TokensPath(), nil, true
	s.options = o
	s.entropy = s.data.UnigramEntropy()
	s.say("data", "%s: %d training tokens, %d for validation, vocabulary %d, unigram entropy %.4f nats",
		s.config.Data, s.data.TrainTokens(), s.data.ValTokens(), s.model.Vocab(), s.entropy)
	return nil
}

// dataOptions says how a model reads a source.
func dataOptions(m models.Config, t tokenizer.Tokenizer, source, labels string) (data.Options, error) {
	o := data.Options{Source: source, Labels: labels, Tokenizer: t, Objective: data.Causal, VocabSize: m.Vocab()}
	if !masked(m) {
		if labels != "" {
			return o, fmt.Errorf("--labels: a %s model predicts the next token, its targets are the data's own tokens; --labels is for BERT", m.Type())
		}
		return o, nil
	}
	o.Objective = data.Masked
	if labels != "" {
		return o, nil
	}
	if t == nil {
		return o, fmt.Errorf("--data %s: masking needs a tokenizer that has [MASK]; give data masked beforehand with --labels", source)
	}
	id, ok := t.ID("[MASK]")
	if !ok {
		return o, fmt.Errorf("--data %s: the tokenizer has no [MASK] token, which BERT needs", source)
	}
	o.MaskID = id
	if l, ok := t.(tokenizer.SpecialLister); ok {
		o.SpecialIDs = l.SpecialIDs()
	}
	return o, nil
}

// planAuto is the plan that is searched for.
const planAuto = "auto"

// takePlan reads the plan that the user gives, or that a run to be continued has,
// and checks it.
func (s *setup) takePlan(context.Context) (err error) {
	c := &s.config
	switch {
	case c.Plan != planAuto:
		if s.plan, err = readPlan(c.Plan); err != nil {
			return fmt.Errorf("--plan: %w", err)
		}
	case c.Resume:
		plan, err := readPlan(filepath.Join(c.Out, planName))
		if err == nil && (c.Workers == 0 || c.Workers == plan.Mesh().Size()) {
			s.plan = plan
		}
	}
	if s.plan == nil {
		c.Workers = cmp.Or(c.Workers, defaultWorkers)
		return nil // it is searched for, when the model's size is known
	}
	return s.checkPlan()
}

// findPlan searches for a plan where there is none yet.
func (s *setup) findPlan(ctx context.Context) error {
	if s.plan != nil {
		return nil
	}
	if err := s.autoPlan(ctx); err != nil {
		return err
	}
	return s.checkPlan()
}

// choosePlan takes the plan or searches for one, for a model whose size is known.
func (s *setup) choosePlan(ctx context.Context) error {
	if err := s.takePlan(ctx); err != nil {
		return err
	}
	return s.findPlan(ctx)
}

// checkPlan checks that the plan fits the model, the workers and the batch.
func (s *setup) checkPlan() error {
	c := &s.config
	facts, err := s.facts()
	if err != nil {
		return err
	}
	if c.Workers == 0 {
		c.Workers = s.plan.Mesh().Size()
	}
	if err := s.splitRows(); err != nil {
		return err
	}
	if err := s.plan.Validate(facts, c.Workers, c.Batch); err != nil {
		return fmt.Errorf("--plan: %w", err)
	}
	return nil
}

// facts says what a plan must fit of the model.
func (s *setup) facts() (parallel.Facts, error) {
	m, err := models.Build(s.model, models.Options{Batch: 1, Seq: s.config.Seq, Train: true})
	if err != nil {
		return parallel.Facts{}, err
	}
	return parallel.FactsOf(m), nil
}

// splitRows applies --micro-batch to the plan.
func (s *setup) splitRows() error {
	c := s.config
	if c.MicroBatch == 0 {
		return nil
	}
	ways := s.plan.BatchWays()
	rows := ways * c.MicroBatch
	if c.Batch%rows != 0 {
		return fmt.Errorf("--micro-batch %d: with dp=%d a step is of multiples of %d sequences, --batch is %d", c.MicroBatch, ways, rows, c.Batch)
	}
	micro := c.Batch / rows
	if s.plan.Micro != 1 && s.plan.Micro != micro && c.Plan != planAuto {
		return fmt.Errorf("--micro-batch %d: makes %d micro-batches, the plan says micro=%d; give one of the two", c.MicroBatch, micro, s.plan.Micro)
	}
	s.plan.Micro = micro
	return nil
}

// maxFileBytes bounds the JSON files of plans and clusters.
const maxFileBytes = 16 << 20

// readPlan reads a plan's file or text.
func readPlan(text string) (*parallel.Plan, error) {
	if strings.Contains(text, "=") {
		return parallel.Parse(text)
	}
	content, err := inputfile.Read(text, maxFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%q is neither auto, nor a plan as 'pp=2 dp=2', nor a file", text)
	}
	if err != nil {
		return nil, err
	}
	plan := parallel.Default()
	if err := plan.UnmarshalJSON(content); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return plan, nil
}
