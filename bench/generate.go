package bench

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// GenerateOptions say how the suite generate measures.
type GenerateOptions struct {
	Tokens  int  // generated at each context; default 32
	Threads int  // default as many as this process uses
	JSON    bool // one JSON object a line instead of a table
}

// generation is a model that generates, and how many tokens come before those
// that are measured.
type generation struct {
	label    string
	config   *models.GPTConfig
	contexts []int
	probe    int // elements that are read to measure the bandwidth
}

var gpt2Generation = generation{
	label: "gpt2-124m",
	config: &models.GPTConfig{
		VocabSize: 50257, NPositions: 1024, NEmbd: 768, NLayer: 12, NHead: 12, TieWordEmbeddings: true,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.02,
	},
	contexts: []int{0, 512},
	probe:    96 << 20,
}

// Generate measures how fast GPT-2 124M generates one sequence, with parameters
// that were never trained, and writes a [Result] of each context length to
// stdout. Each token reads all parameters and the keys and values of the tokens
// before it: of_peak is the rate of these bytes over that of a loop that only
// reads, the faster of before and after.
func Generate(ctx context.Context, o GenerateOptions, stdout io.Writer) error {
	return generate(ctx, o, stdout, gpt2Generation)
}

func generate(ctx context.Context, o GenerateOptions, stdout io.Writer, g generation) error {
	if o.Tokens < 0 || o.Threads < 0 {
		return fmt.Errorf("bench: %d tokens, %d threads: neither may be negative", o.Tokens, o.Threads)
	}
	o.Tokens, o.Threads = cmp.Or(o.Tokens, 32), cmp.Or(o.Threads, runtime.GOMAXPROCS(0))
	emit := results(stdout, o.JSON, false)
	d, err := newDecoder(g.config, o.Threads)
	if err != nil {
		return err
	}
	defer d.close()
	limit := readRate(o.Threads, g.probe)
	for _, c := range g.contexts {
		seconds, err := d.run(ctx, c, o.Tokens)
		if err != nil {
			return err
		}
		before := limit
		limit = readRate(o.Threads, g.probe)
		rate := d.bytes(c+o.Tokens/2) / seconds
		if err := emit(Result{
			Suite: "generate", Name: fmt.Sprintf("generate-fp32-%s-context-%d-%dt", g.label, c, o.Threads),
			Value: 1 / seconds, Unit: "tokens/s", OfPeak: rate / max(before, limit),
		}); err != nil {
			return err
		}
	}
	return nil
}

// readRate is the fastest of some sums over memory, in bytes a second.
func readRate(threads, elements int) float64 {
	p := kernel.NewPool(threads)
	defer p.Close()
	x := kernel.Alloc(elements)
	defer kernel.Free(x)
	for i := range x {
		x[i] = 1
	}
	best := time.Duration(1<<63 - 1)
	for range 5 {
		start := time.Now()
		kernel.Sum(p, x)
		best = min(best, time.Since(start))
	}
	return traffic(elements) / best.Seconds()
}

// decoder generates token by token.
type decoder struct {
	config  *models.GPTConfig
	backend *cpu.Backend
	machine *exec.Machine
	params  int // elements that each token reads
}

func newDecoder(c *models.GPTConfig, threads int) (*decoder, error) {
	model, err := models.BuildDecoder(c, models.DecodeOptions{Batch: 1, Tokens: 1, Cache: c.MaxSeq(), Head: true})
	if err != nil {
		return nil, err
	}
	backend, err := cpu.New(threads)
	if err != nil {
		return nil, err
	}
	d := &decoder{config: c, backend: backend}
	program, err := exec.Compile(graph.Whole(model), backend, exec.Options{})
	if err == nil {
		d.machine, err = exec.New(program, nil)
	}
	if err != nil {
		backend.Close()
		return nil, err
	}
	for _, p := range d.machine.Params() {
		models.InitValue(p.Shard.Param, seed, p.Value)
		d.params += len(p.Value)
	}
	d.params -= c.NPositions * c.NEmbd // a token reads one row
	if !c.TieWordEmbeddings {
		d.params -= c.VocabSize * c.NEmbd
	}
	return d, nil
}

func (d *decoder) close() {
	d.machine.Close()
	d.backend.Close()
}

// bytes is what the token after context others reads.
func (d *decoder) bytes(context int) float64 {
	return traffic(d.params) + traffic(2*d.config.NLayer*d.config.NEmbd*context)
}

// run gives the median time of tokens that follow a context. The context's own
// keys and values do not matter for the time, so they are left as they are.
func (d *decoder) run(ctx context.Context, start, tokens int) (seconds float64, err error) {
	r := rand.New(rand.NewPCG(seed, 0))
	var times []float64
	for i := range tokens {
		d.machine.Input(0, graph.InputTokens).Ints[0] = r.Int32N(int32(d.config.VocabSize))
		d.machine.Input(0, graph.InputStart).Ints[0] = int32(start + i)
		begin := time.Now()
		if err := d.machine.Forward(ctx, exec.MicroBatch{Index: i}); err != nil {
			return 0, err
		}
		times = append(times, time.Since(begin).Seconds())
	}
	slices.Sort(times)
	return median(times), nil
}
