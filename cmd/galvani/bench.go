package main

import (
	"context"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/galvani-ml/galvani/bench"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/train"
)

// benchCmd is `galvani bench`.
type benchCmd struct {
	Train    benchTrainCmd    `cmd:"" help:"Training steps, beside the same model on other frameworks: tokens/s, GFLOP/s, share of the peak, memory, allocation."`
	CPU      benchCPUCmd      `cmd:"" name:"cpu" help:"Kernels at the sizes of GPT-2 124M beside the limits of this machine: GFLOP/s, GB/s, share of the peak."`
	Comm     benchCommCmd     `cmd:"" name:"comm" help:"Collectives between processes of this machine over each data plane, beside Open MPI and Gloo: median times, GB/s, ratios."`
	Generate benchGenerateCmd `cmd:"" help:"Text generation by GPT-2 124M, one sequence: tokens/s, share of what memory bandwidth allows."`
	Predict  benchPredictCmd  `cmd:"" help:"What the planner predicts beside what training takes: every plan of a small space, priced, simulated and run; errors, and the regret of the plans chosen."`
	Plan     benchPlanCmd     `cmd:"" help:"Search of recorded problems of Galvatron by its own formulas: cost beside its search engine's, memory, seconds of search."`
	Search   benchSearchCmd   `cmd:"" help:"Throughput that the planner predicts for BERT, GPT, and models like T5 and Swin on 8, 16 and 64 A100 of 8 to 80 GiB: of pure strategies, of parts of its space, of Galvatron-BMW's and of the best partitions."`
}

// benchSearchCmd is `galvani bench search`.
type benchSearchCmd struct {
	Models   []string `placeholder:"NAME,NAME" help:"Models: ${searchmodels}. Default: all."`
	Devices  []int    `placeholder:"N,N" help:"Numbers of devices: 8, 16, 64. Default: all."`
	Memory   []int    `placeholder:"GIB,GIB" help:"GiB of a device. Default: 8, 12, 16, 20, 40 and 80."`
	Methods  []string `placeholder:"NAME,NAME" help:"Methods: ${searchmethods}. Default: all."`
	JSON     bool     `xor:"form" help:"Print one JSON object a line."`
	Markdown bool     `xor:"form" help:"Print Markdown."`
}

// Run searches.
func (c *benchSearchCmd) Run(ctx context.Context, s *streams) error {
	return bench.Search(ctx, bench.SearchOptions{
		Models: c.Models, Devices: c.Devices, Memory: c.Memory, Methods: c.Methods, JSON: c.JSON, Markdown: c.Markdown, Log: s.errs,
	}, s.out)
}

// benchPlanCmd is `galvani bench plan`.
type benchPlanCmd struct {
	Cases    string `required:"" placeholder:"DIR" help:"A folder a case: args.json, result.json and tables.json of the VLDB code, Hetu-Galvatron 2.0 or 3.0."`
	Profiles string `placeholder:"DIR" help:"A folder a set of 3.0's profiles, as cases name them. Default: _profiles in that of the cases."`
	Write    string `placeholder:"DIR" help:"Write the plans found from profiles as 3.0's runtime reads them: galvatron_config_CASE.json."`
	JSON     bool   `help:"Print one JSON object a line."`
}

// Run searches.
func (c *benchPlanCmd) Run(ctx context.Context, s *streams) error {
	return bench.Plan(ctx, bench.PlanOptions{Cases: c.Cases, Profiles: c.Profiles, Write: c.Write, JSON: c.JSON}, s.out)
}

// benchPredictCmd is `galvani bench predict`.
type benchPredictCmd struct {
	Workload    []string `default:"all" enum:"${predictions}" placeholder:"NAME" help:"What to train: ${predictions}. Repeatable. Default: all."`
	Workers     []int    `default:"2,4" placeholder:"N,N" help:"Numbers of worker processes. Default: ${default}."`
	Plans       int      `default:"40" help:"Plans of a workload at most, beside those that the planner chooses: of more, some are drawn, the same each time."`
	Rounds      int      `default:"3" help:"Turns that each plan takes, and in which this machine is measured; plans that are nearly the best, and those chosen, take as many again."`
	Steps       int      `default:"3" help:"Steps a turn."`
	LinkRate    []string `placeholder:"RATE,RATE" help:"Compare within networks of these rates instead, as 1Gbps,10Gbps: namespaces with a loopback that tc limits, measured each by itself. Needs root, ip and tc; where these lack, it is skipped."`
	Collectives string   `placeholder:"PLANE" enum:",auto,nats,tcp,shm" default:"" help:"The data plane: auto, nats, tcp or shm. Default: auto; tcp with --link-rate, as between hosts."`
	JSON        bool     `help:"Print one JSON object a line."`
}

// Run compares.
func (c *benchPredictCmd) Run(ctx context.Context, s *streams) error {
	return bench.Predict(ctx, bench.PredictOptions{
		Workloads: c.Workload, Workers: c.Workers, Plans: c.Plans, Rounds: c.Rounds, Steps: c.Steps, LinkRates: c.LinkRate, Collectives: c.Collectives,
		JSON: c.JSON, Log: s.errs, Version: version(),
	}, s.out)
}

// benchCommCmd is `galvani bench comm`.
type benchCommCmd struct {
	Op     []string      `enum:"${collectives}" default:"${collectives}" placeholder:"NAME" help:"What to measure: ${collectives}. Repeatable. Default: all."`
	Plane  []string      `enum:"${planes}" default:"${planes}" placeholder:"NAME" help:"Over which data planes: ${planes}. Repeatable. Default: all."`
	Ranks  []int         `default:"2,4" placeholder:"N" help:"Numbers of ranks, each a process. Default: ${default}."`
	Bytes  []train.Size  `placeholder:"SIZE" help:"Sizes of the whole tensor, as 64KiB. Default: 1 KiB to 256 MiB by factors of 4."`
	Peers  bool          `help:"Measure Open MPI and Gloo in turns, where they are installed: Debian's openmpi-bin and python3-torch, and a python3."`
	Rounds int           `default:"3" help:"Turns that each side takes."`
	Turn   time.Duration `default:"150ms" help:"How long a turn takes, about."`
	SVG    string        `name:"svg" placeholder:"FILE" help:"Write a chart too."`
	JSON   bool          `help:"Print one JSON object a line."`
}

// Run measures.
func (c *benchCommCmd) Run(ctx context.Context, s *streams) error {
	o := bench.CommOptions{
		Ops: c.Op, Planes: c.Plane, Ranks: c.Ranks, Peers: c.Peers, Rounds: c.Rounds, Turn: c.Turn, SVG: c.SVG, JSON: c.JSON, Log: s.errs,
	}
	for _, n := range c.Bytes {
		o.Bytes = append(o.Bytes, int(n))
	}
	return bench.Comm(ctx, o, s.out)
}

// benchGenerateCmd is `galvani bench generate`.
type benchGenerateCmd struct {
	Tokens  int  `default:"32" help:"Tokens to generate at each context length."`
	Threads int  `placeholder:"N" help:"Threads. Default: one for each processor."`
	JSON    bool `help:"Print one JSON object a line."`
}

// Run measures.
func (c *benchGenerateCmd) Run(ctx context.Context, s *streams) error {
	return bench.Generate(ctx, bench.GenerateOptions{Tokens: c.Tokens, Threads: c.Threads, JSON: c.JSON}, s.out)
}

// benchTrainCmd is `galvani bench train`.
type benchTrainCmd struct {
	Workload    []string      `default:"small" enum:"${workloads}" placeholder:"NAME" help:"What to train: ${workloads}. Repeatable. Default: small."`
	Peers       optional      `placeholder:"NAMES" help:"Measure peers in turns: PyTorch where a python3 has torch, and for small Gorgonia's TapeMachine. As --peers=gorgonia,pytorch or --peers=none, those of all workloads. Default: Gorgonia, for small."`
	Peer        []string      `sep:"none" placeholder:"NAME=COMMAND" help:"A further peer: a shell command that prints tokens/s, run once a round, told the workload by GALVANI_BENCH_BATCH, _SEQ, _LAYERS, _WIDTH, _HEADS, _VOCAB, _TIED, _UPDATE, _STEPS, _THREADS. Repeatable."`
	Plans       plansFlag     `placeholder:"PLANS" help:"Measure plans instead of peers, each trained by worker processes in turns with one worker: 'PLAN;PLAN', texts as 'pp=2 micro=4' or JSON files. Repeatable. Tells of each tokens/s, the shares of a step in which workers wait for collectives and sends (communication) and for other pipeline stages (bubble: to receive activations and gradients, and at the end of the step), bytes sent, planned and measured memory. Alone or as --plans=default: one, two workers by each strategy, checkpointing, and a mixed plan."`
	PeerTimeout time.Duration `default:"10m" help:"How long a turn may take."`
	Rounds      int           `default:"5" help:"Turns that each side takes."`
	Steps       int           `default:"3" help:"Steps a turn."`
	Threads     int           `placeholder:"N" help:"Threads of each side. Default: one for each processor."`
	Precision   string        `default:"fp32" enum:"fp32,bf16" help:"Of products by parameters: ${enum}. bf16 is measured beside fp32."`
	Dropout     float64       `default:"0" help:"Dropout of embeddings and residual branches, where there are no peers."`
	DisablePass []exec.Pass   `placeholder:"PASS" help:"Passes of the compiler to leave out, of ${passes}; measured beside the usual ones, which are all but recompute."`
	EnablePass  []exec.Pass   `placeholder:"PASS" help:"Passes to do besides the usual ones."`
	Profile     bool          `help:"Also tell where the milliseconds of a step of Galvani's go."`
	SVG         string        `name:"svg" placeholder:"FILE" help:"Write a chart too."`
	JSON        bool          `help:"Print one JSON object a line."`
}

// Run measures.
func (c *benchTrainCmd) Run(ctx context.Context, s *streams) error {
	o := bench.TrainOptions{
		Workloads: c.Workload, PeerTimeout: c.PeerTimeout, Rounds: c.Rounds, Steps: c.Steps, Threads: c.Threads,
		Precision: c.Precision, Dropout: c.Dropout, DisablePass: c.DisablePass, EnablePass: c.EnablePass, Profile: c.Profile, SVG: c.SVG, JSON: c.JSON, Log: s.errs,
	}
	switch {
	case c.Peers.value != "":
		o.Peers = strings.Split(c.Peers.value, ",")
	case c.Peers.given:
		o.Peers = []string{bench.PeersUsual}
	}
	o.Plans = c.Plans.texts
	for _, text := range c.Peer {
		p, err := bench.ParsePeerCommand(text)
		if err != nil {
			return usageError{err}
		}
		o.Commands = append(o.Commands, p)
	}
	return bench.Train(ctx, o, s.out)
}

// benchCPUCmd is `galvani bench cpu`.
type benchCPUCmd struct {
	Threads  int      `placeholder:"N" help:"Threads of the second figure of each kernel; the first is of one. Default: one for each processor."`
	Large    bool     `help:"Also matrix products of 4,096 rows, and those of the 50,304-wide head: minutes instead of seconds."`
	OpenBLAS optional `name:"openblas" placeholder:"PATH" help:"Measure matrix products on OpenBLAS too, in turns: the system's library, or as --openblas=PATH another. Needs python3."`
	SVG      string   `name:"svg" placeholder:"FILE" help:"Write a chart too."`
	JSON     bool     `help:"Print one JSON object a line."`
}

// Run measures.
func (c *benchCPUCmd) Run(ctx context.Context, s *streams) error {
	return bench.CPU(ctx, bench.CPUOptions{
		Threads: c.Threads, Large: c.Large, OpenBLAS: c.OpenBLAS.given, Library: c.OpenBLAS.value, SVG: c.SVG, JSON: c.JSON,
	}, s.out)
}

// optional is a flag that may have a value, as --flag=VALUE.
type optional struct {
	given bool
	value string
}

// IsBool says that the flag may stand alone.
func (optional) IsBool() bool { return true }

// Decode takes the value, if there is one.
func (o *optional) Decode(ctx *kong.DecodeContext) error {
	o.given = true
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	return ctx.Scan.PopValueInto("value", &o.value)
}

// plansFlag is a flag that may be repeated, with or without a value.
type plansFlag struct{ texts []string }

// IsBool says that the flag may stand alone.
func (plansFlag) IsBool() bool { return true }

// Decode adds the value, or that of the default where there is none.
func (p *plansFlag) Decode(ctx *kong.DecodeContext) error {
	text := bench.PlansDefault
	if ctx.Scan.Peek().IsValue() {
		if err := ctx.Scan.PopValueInto("value", &text); err != nil {
			return err
		}
	}
	p.texts = append(p.texts, text)
	return nil
}

// childCmd is one side of a benchmark.
type childCmd struct {
	Kind string `arg:""`
}

// Run measures until its input ends.
func (c *childCmd) Run(s *streams) error { return bench.Child(c.Kind, s.in, s.out) }
