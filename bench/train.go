package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/exec"
)

// TrainOptions say what the suite train measures, and how long. Zero fields take
// the defaults.
type TrainOptions struct {
	Workloads   []string      // as [Workloads] has them; default small
	Peers       []string      // gorgonia, pytorch, or one of PeersUsual and PeersNone; default gorgonia, of the workload small alone
	Commands    []PeerCommand // further peers
	Plans       []string      // measure these beside one worker instead of peers: texts with semicolons between them, JSON files, or PlansDefault
	PeerTimeout time.Duration // for a turn of any side; default 10 minutes
	Rounds      int           // turns each side takes; default 5
	Steps       int           // a turn; default 3
	Threads     int           // of each side; default as many as this process uses
	Precision   string        // of our products by parameters, fp32 or bf16; default fp32
	Dropout     float64       // probability, of our model alone: it meets no peers
	DisablePass []exec.Pass   // passes of the compiler to leave out, measured beside the usual ones
	EnablePass  []exec.Pass   // passes that are not usual
	Profile     bool          // tell also where the time of our steps goes
	SVG         string        // file to write a chart to; empty for none
	JSON        bool          // one JSON object a line instead of tables
	Log         io.Writer     // where it is told that a peer is missing; default nowhere
}

// Words that stand for several peers, or none.
const (
	PeersUsual = "usual" // pytorch, and gorgonia of the workload small
	PeersNone  = "none"
)

// warmup is how many steps each side runs before it is measured.
const warmup = 2

// Train measures training steps on Galvani and its peers, and writes a [Result]
// of each to stdout. The workload small is measured with and without the
// optimizer's update; in bf16, beside ourselves in fp32. Plans, if there are any, are
// measured instead of peers, each written as a [PlanResult]. When ctx ends it stops
// at once.
func Train(ctx context.Context, o TrainOptions, stdout io.Writer) error {
	if len(o.Workloads) == 0 {
		o.Workloads = []string{small.Label}
	}
	ws, err := chosen(o.Workloads)
	if err != nil {
		return err
	}
	return train(ctx, o, stdout, ws...)
}

func train(ctx context.Context, o TrainOptions, stdout io.Writer, workloads ...workload) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	workloads = slices.Clone(workloads)
	for i := range workloads {
		w := &workloads[i]
		if o.Precision == string(exec.BF16) {
			w.Precision = o.Precision
		}
		w.Dropout, w.DisablePass, w.EnablePass = o.Dropout, o.DisablePass, o.EnablePass
	}
	if len(o.Plans) > 0 {
		return trainPlans(ctx, o, stdout, workloads...)
	}
	return trainPeers(ctx, o, stdout, workloads...)
}

// withDefaults fills in what is left out and checks the rest.
func (o TrainOptions) withDefaults() (TrainOptions, error) {
	if o.Rounds < 0 || o.Steps < 0 || o.Threads < 0 || o.PeerTimeout < 0 {
		return o, fmt.Errorf("bench: %d rounds, %d steps, %d threads, %v for a turn: none may be negative", o.Rounds, o.Steps, o.Threads, o.PeerTimeout)
	}
	if _, err := exec.ParsePrecision(o.Precision); err != nil {
		return o, fmt.Errorf("bench: %w", err)
	}
	if o.Dropout < 0 || o.Dropout >= 1 {
		return o, fmt.Errorf("bench: dropout %g: must be in [0, 1)", o.Dropout)
	}
	if err := exec.CheckPasses(slices.Concat(o.DisablePass, o.EnablePass)...); err != nil {
		return o, fmt.Errorf("bench: %w", err)
	}
	o.Rounds, o.Steps = cmp.Or(o.Rounds, 5), cmp.Or(o.Steps, 3)
	o.Threads = cmp.Or(o.Threads, runtime.GOMAXPROCS(0))
	o.PeerTimeout = cmp.Or(o.PeerTimeout, defaultTimeout)
	return o, checkChart(o.SVG)
}

// trainPeers measures each workload beside its peers.
func trainPeers(ctx context.Context, o TrainOptions, stdout io.Writer, workloads ...workload) error {
	python := ""
	if o.wantsTorch() {
		if python = findTorch(ctx); python == "" && o.Log != nil {
			fmt.Fprintln(o.Log, "bench: no python3 here can import torch: going on without the peer pytorch")
		}
	}
	var results []Result
	for _, w := range workloads {
		peers, err := peersOf(o, w, python)
		if err != nil {
			return err
		}
		r, err := contest(ctx, o, w, self(ours), peers...)
		if err != nil {
			return err
		}
		results = append(results, r)
		if o.JSON {
			err = json.NewEncoder(stdout).Encode(r)
		} else {
			err = writeTraining(stdout, r)
		}
		if err != nil {
			return err
		}
	}
	return writeChart(o.SVG, trainChart(results, machineName(o.Threads)))
}
