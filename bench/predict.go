package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/models"
)

// PredictOptions say what the suite predict measures, and how long. Zero fields
// take the defaults.
type PredictOptions struct {
	Workloads []string // as [PredictWorkloads] has them; default all
	Workers   []int    // numbers of worker processes; default 2 and 4
	Plans     int      // most plans of a workload beside those that are chosen; default 40
	Rounds    int      // turns that each plan takes; default 3
	Steps     int      // a turn; default 3
	LinkRates []string // as 1Gbps: within networks of these rates instead
	// Collectives is the data plane. Default auto; tcp within networks of a rate,
	// where ranks of one host would not use it.
	Collectives string
	Fresh       bool      // measure this machine and the layers anew
	Cache       string    // directory of what was measured; default the user's
	JSON        bool      // one JSON object a line instead of tables
	Log         io.Writer `json:"-"` // where it is told how it goes; default nowhere
	Version     string    // of this program

	// Network names the network of this process, where it is not the machine's
	// own: what is measured within belongs to it.
	Network string

	quick bool // measures roughly, in tests
}

// predictWorkload is a model, and the batch that it is trained on.
type predictWorkload struct {
	Label      string
	Model      models.Config
	Seq, Batch int
}

// The workloads of the suite predict.
var predictWorkloads = []predictWorkload{
	{"gpt-small", predictGPT(4, 128, 4, 1024), 128, 8},
	{"gpt-medium", predictGPT(6, 256, 8, 2048), 128, 8},
	{"bert-small", predictBERT(4, 128, 4, 1024), 128, 8},
	{"bert-medium", predictBERT(6, 256, 8, 2048), 128, 8},
}

func predictGPT(layers, width, heads, vocab int) models.Config {
	return &models.GPTConfig{
		VocabSize: vocab, NPositions: 128, NEmbd: width, NLayer: layers, NHead: heads,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: true,
	}
}

func predictBERT(layers, width, heads, vocab int) models.Config {
	return &models.BERTConfig{
		VocabSize: vocab, MaxPositionEmbeddings: 128, TypeVocabSize: 2, HiddenSize: width, NumHiddenLayers: layers, NumAttentionHeads: heads,
		IntermediateSize: 4 * width, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02, TieWordEmbeddings: true,
	}
}

// PredictWorkloads are the names that [PredictOptions] knows, "all" of them last.
func PredictWorkloads() []string {
	var names []string
	for _, w := range predictWorkloads {
		names = append(names, w.Label)
	}
	return append(names, all)
}

// chosenPredict are the workloads of the names, in the order of the list above.
func chosenPredict(names []string) ([]predictWorkload, error) {
	known := PredictWorkloads()
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("bench: no workload is named %q: there are %s", n, strings.Join(known, ", "))
		}
	}
	if slices.Contains(names, all) || len(names) == 0 {
		return predictWorkloads, nil
	}
	return slices.DeleteFunc(slices.Clone(predictWorkloads), func(w predictWorkload) bool { return !slices.Contains(names, w.Label) }), nil
}

// Predict compares what the planner predicts with what training takes: plans of a
// small space are priced by the search's formula and played by the simulator, and
// run by worker processes, in turns, in each of which the machine is measured, too. It writes a [Prediction] of each plan to
// stdout, and a [PredictionSummary] of each workload: errors, and the regret of
// the plans that the planner chooses. When ctx ends it stops at once.
func Predict(ctx context.Context, o PredictOptions, stdout io.Writer) error {
	workloads, err := chosenPredict(o.Workloads)
	if err != nil {
		return err
	}
	return predict(ctx, o, stdout, workloads...)
}

func predict(ctx context.Context, o PredictOptions, stdout io.Writer, workloads ...predictWorkload) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if len(o.LinkRates) > 0 {
		return predictShaped(ctx, o, stdout)
	}
	for _, w := range workloads {
		for _, workers := range o.Workers {
			err := compare(ctx, o, w, workers, stdout)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				return fmt.Errorf("bench: %s, %s: %w", w.Label, plural(workers, "worker"), err)
			}
		}
	}
	return nil
}

// compare measures one workload.
func compare(ctx context.Context, o PredictOptions, w predictWorkload, workers int, stdout io.Writer) error {
	c, err := newComparison(ctx, o, w, workers)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.run(ctx); err != nil {
		return err
	}
	return c.write(stdout)
}

// withDefaults fills in what is left out and checks the rest.
func (o PredictOptions) withDefaults() (PredictOptions, error) {
	if o.Plans < 0 || o.Rounds < 0 || o.Steps < 0 {
		return o, fmt.Errorf("bench: %d plans, %d rounds, %d steps: none may be negative", o.Plans, o.Rounds, o.Steps)
	}
	if len(o.Workers) == 0 {
		o.Workers = []int{2, 4}
	}
	if slices.Min(o.Workers) < 1 {
		return o, fmt.Errorf("bench: %v workers: must be at least 1", o.Workers)
	}
	if _, err := comm.ParsePlane(cmp.Or(o.Collectives, string(comm.Auto))); err != nil {
		return o, err
	}
	for _, r := range o.LinkRates {
		if _, err := parseRate(r); err != nil {
			return o, err
		}
	}
	o.Plans, o.Rounds, o.Steps = cmp.Or(o.Plans, 40), cmp.Or(o.Rounds, 3), cmp.Or(o.Steps, 3)
	if o.Log == nil {
		o.Log = io.Discard
	}
	return o, nil
}

// write prints the results of a workload.
func (c *comparison) write(stdout io.Writer) error {
	predictions, summary := c.results()
	if !c.options.JSON {
		return writePredictions(stdout, predictions, summary)
	}
	lines := json.NewEncoder(stdout)
	for _, p := range predictions {
		if err := lines.Encode(p); err != nil {
			return err
		}
	}
	return lines.Encode(summary)
}

// machineWide is the number of threads of all workers together.
func machineWide() int { return runtime.GOMAXPROCS(0) }

// tempDir makes a directory for a comparison's data.
func tempDir() (string, error) { return os.MkdirTemp("", "galvani-bench-") }
