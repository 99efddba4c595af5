package train

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec"
)

// Config is a training run. The keys of a YAML configuration and the flags of
// `galvani train` are the same; the tags hold both, with the defaults and the
// help text.
type Config struct {
	Model string `yaml:"model,omitempty" default:"gpt-micro" group:"Model" placeholder:"PRESET" help:"Model to train from scratch: ${presets}. Default: ${default}."`
	Init  string `yaml:"init,omitempty" group:"Model" placeholder:"DIR" help:"Start from a Hugging Face directory (config.json, model.safetensors, optional tokenizer.json) or a checkpoint, instead of --model."`
	Vocab int    `yaml:"vocab" default:"2048" group:"Model" help:"Size of the byte-level BPE vocabulary trained on --data, where neither --init nor the data brings one."`

	Data      string    `yaml:"data" default:"go-std" group:"Data" help:"A text file, a directory, a .bin of little-endian uint16 tokens, or go-std: the source of the Go standard library."`
	Labels    string    `yaml:"labels,omitempty" group:"Data" placeholder:"FILE.bin" help:"Targets for data masked beforehand: little-endian int16, -100 = ignored."`
	DataOrder DataOrder `yaml:"data-order" default:"random" enum:"random,sequential" group:"Data" help:"Order of the training windows: ${enum}."`
	Seq       int       `yaml:"seq" default:"128" group:"Data" help:"Tokens in a sequence."`

	Batch       int     `yaml:"batch" default:"16" group:"Optimization" help:"Sequences a step, over all workers."`
	MicroBatch  int     `yaml:"micro-batch,omitempty" group:"Optimization" placeholder:"N" help:"Sequences a worker runs at once; the rest is accumulated. Default: what the plan says."`
	Steps       int     `yaml:"steps" default:"1000" group:"Optimization" help:"Optimizer steps."`
	LR          float64 `yaml:"lr" default:"2e-3" group:"Optimization" help:"Learning rate after warm-up."`
	LRSchedule  string  `yaml:"lr-schedule" default:"cosine" enum:"cosine,constant" group:"Optimization" help:"Learning rate after warm-up: ${enum}; cosine ends at a tenth."`
	Warmup      int     `yaml:"warmup" default:"50" group:"Optimization" help:"Steps over which the learning rate rises from 0."`
	Betas       Betas   `yaml:"betas" default:"0.9,0.95" group:"Optimization" placeholder:"B1,B2" help:"AdamW's decay rates of the two moments. Default: ${default}."`
	Eps         float64 `yaml:"eps" default:"1e-8" group:"Optimization" help:"AdamW's epsilon."`
	WeightDecay float64 `yaml:"weight-decay" default:"0.1" group:"Optimization" help:"AdamW's weight decay, on parameters of 2 or more dimensions."`
	Clip        float64 `yaml:"clip" default:"1.0" group:"Optimization" help:"Largest global norm of the gradient; 0 does not clip."`
	Dropout     float64 `yaml:"dropout" default:"0" group:"Optimization" help:"Dropout of embeddings and residual branches."`
	Seed        uint64  `yaml:"seed" default:"1" group:"Optimization" help:"Seed of initial values, data order, masking and dropout."`

	Workers     int         `yaml:"workers,omitempty" group:"Parallelism" placeholder:"N" help:"Worker processes. Default: what the plan needs, 2 with --plan auto."`
	Plan        string      `yaml:"plan" default:"auto" group:"Parallelism" placeholder:"PLAN" help:"auto, a plan's JSON file, or its text, as 'pp=2 dp=2 micro=4 schedule=1f1b'. Default: ${default}."`
	Cluster     string      `yaml:"cluster,omitempty" group:"Parallelism" placeholder:"NAME" help:"Machines that --plan auto plans for: here, which is this machine, measured once and kept; a preset: ${clusters}; or a file, as galvani profile --out writes. Default: here."`
	Memory      Size        `yaml:"memory,omitempty" group:"Parallelism" placeholder:"SIZE" help:"Memory a worker may use, as 200MiB. A plan that needs more is refused. Default: no limit."`
	Precision   string      `yaml:"precision" default:"fp32" enum:"fp32,bf16" group:"Parallelism" help:"Products by parameters: ${enum}. bf16 rounds what is multiplied, stores in bf16 what is only multiplied, and adds up in fp32; all else stays in fp32."`
	DisablePass []exec.Pass `yaml:"disable-pass,omitempty" group:"Parallelism" placeholder:"PASS" help:"Passes of the compiler to leave out, of ${passes}. None changes a result's bits."`
	EnablePass  []exec.Pass `yaml:"enable-pass,omitempty" group:"Parallelism" placeholder:"PASS" help:"Passes to do besides the usual ones, which are all but recompute: that saves memory and takes a little time."`
	Device      string      `yaml:"device" default:"auto" enum:"auto,cpu,gpu" group:"Parallelism" help:"Device: ${enum}."`
	Collectives string      `yaml:"collectives" default:"auto" enum:"auto,nats,tcp,shm,nccl" group:"Parallelism" help:"What carries tensors between workers, their data plane: ${enum}. auto takes for each two of them the first that works: shm, memory that workers of one host share; tcp, a connection of their own, encrypted between hosts; nats, the server that carries all else. All give the same bits."`
	NATS        string      `yaml:"nats,omitempty" env:"GALVANI_NATS" group:"Parallelism" placeholder:"URL" help:"External NATS server, as nats://host:4222. Default: embedded. A user and password, as nats://me:secret@host:4222, belong in the environment: others on this machine can read arguments. What a run writes has neither."`

	SnapshotEvery int           `yaml:"snapshot-every,omitempty" group:"Failure" placeholder:"STEPS" help:"Steps between snapshots of parameters and moments, which the coordinator keeps in memory: no more steps are lost when workers are. Two snapshots of 12 bytes a parameter are kept. Default: none."`
	HangTimeout   time.Duration `yaml:"hang-timeout" default:"30s" group:"Failure" help:"Without a step for so long, and without a worker that moves, say what each worker is at and whom it waits for, as SIGUSR1 asks for at any time. 0 never does."`

	MaxRestarts int `yaml:"max-restarts" default:"3" group:"Failure" help:"How often in the run new workers go on, from the newest snapshot or checkpoint, after workers were lost or cut off. 0 ends the run at the first failure. Errors that would come again end it anyway."`

	Out       string `yaml:"out,omitempty" group:"Output" placeholder:"DIR" help:"Where checkpoints, metrics and the effective configuration go. Default: runs/MODEL-TIME."`
	SaveEvery int    `yaml:"save-every,omitempty" group:"Output" placeholder:"STEPS" help:"Steps between checkpoints. Default: one, at the end."`
	EvalEvery int    `yaml:"eval-every,omitempty" group:"Output" placeholder:"STEPS" help:"Steps between evaluations on the validation split. Default: five in the run."`
	Resume    bool   `yaml:"-" group:"Output" help:"Continue from the newest checkpoint in --out, with its configuration where no flag says otherwise."`
	Metrics   string `yaml:"metrics,omitempty" group:"Output" placeholder:"FILE.jsonl" help:"Metrics, one JSON object a step. Default: metrics.jsonl in --out."`
	Sample    int    `yaml:"sample" default:"120" group:"Output" help:"Tokens to generate at the end; 0 for none."`

	RecordStep int `yaml:"record-step,omitempty" group:"Output" placeholder:"N" help:"Record step N, counted as in the metrics, of one worker: all it depends on and all it gives, into record-step-N-rank-R.galvani in --out, for galvani replay."`
	RecordRank int `yaml:"record-rank,omitempty" group:"Output" placeholder:"R" help:"Worker that records, from 0. Default: 0."`
}

// DataOrder is the order of the training windows.
type DataOrder string

// Betas are AdamW's decay rates of the first and second moment.
type Betas [2]float64

// UnmarshalText reads "0.9,0.95".
func (b *Betas) UnmarshalText(text []byte) error {
	_, err := fmt.Sscanf(strings.ReplaceAll(string(text), " ", ""), "%g,%g", &b[0], &b[1])
	if err != nil {
		return fmt.Errorf("%q is not two numbers, as 0.9,0.95", text)
	}
	return nil
}

// MarshalText writes "0.9,0.95".
func (b Betas) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%g,%g", b[0], b[1]), nil }

// Validate checks every value on its own and reports all that are wrong.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Seq >= 1, "--seq %d: must be at least 1", c.Seq)
	check(c.Batch >= 1, "--batch %d: must be at least 1", c.Batch)
	check(c.MicroBatch >= 0, "--micro-batch %d: must be at least 1", c.MicroBatch)
	check(c.Steps >= 1, "--steps %d: must be at least 1", c.Steps)
	check(c.LR > 0, "--lr %g: must be above 0", c.LR)
	check(c.Warmup >= 0, "--warmup %d: must not be negative", c.Warmup)
	check(c.Betas[0] >= 0 && c.Betas[0] < 1 && c.Betas[1] >= 0 && c.Betas[1] < 1, "--betas %g,%g: must be in [0, 1)", c.Betas[0], c.Betas[1])
	check(c.Eps > 0, "--eps %g: must be above 0", c.Eps)
	check(c.WeightDecay >= 0, "--weight-decay %g: must not be negative", c.WeightDecay)
	check(c.Clip >= 0, "--clip %g: must not be negative", c.Clip)
	check(c.Dropout >= 0 && c.Dropout < 1, "--dropout %g: must be in [0, 1)", c.Dropout)
	check(c.Workers >= 0, "--workers %d: must be at least 1", c.Workers)
	check(c.Vocab >= 300, "--vocab %d: must be at least 300: 256 bytes and the special tokens", c.Vocab)
	check(c.SnapshotEvery >= 0, "--snapshot-every %d: must not be negative", c.SnapshotEvery)
	check(c.HangTimeout >= 0, "--hang-timeout %v: must not be negative", c.HangTimeout)
	check(c.MaxRestarts >= 0, "--max-restarts %d: must not be negative", c.MaxRestarts)
	check(c.SaveEvery >= 0, "--save-every %d: must not be negative", c.SaveEvery)
	check(c.EvalEvery >= 0, "--eval-every %d: must not be negative", c.EvalEvery)
	check(c.RecordStep >= 0 && c.RecordStep <= max(c.Steps, 0), "--record-step %d: must be one of the run's %d steps, from 1", c.RecordStep, c.Steps)
	check(c.RecordRank >= 0, "--record-rank %d: must not be negative", c.RecordRank)
	check(c.Sample >= 0, "--sample %d: must not be negative", c.Sample)
	check(!c.Resume || c.Out != "", "--resume: name the run to continue with --out DIR")
	check(c.Labels == "" || c.DataOrder == "sequential", "--labels: needs --data-order sequential")
	_, err := exec.ParsePrecision(c.Precision)
	check(err == nil && c.Precision != "", "--precision %s: must be fp32 or bf16", c.Precision)
	err = exec.CheckPasses(slices.Concat(c.DisablePass, c.EnablePass)...)
	check(err == nil, "--disable-pass, --enable-pass: %v", err)
	check(c.Device != "gpu", "--device gpu: this build has no GPU back end; use --device cpu")
	_, err = comm.ParsePlane(c.Collectives)
	check(err == nil, "--collectives %s: this build has no such data plane; use auto, shm, tcp or nats", c.Collectives)
	return errors.Join(errs...)
}
