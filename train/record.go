package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/internal/atomicfile"
)

// recordHead says what a record is of.
type recordHead struct {
	Step, Rank int // step from 1
	Spec       *Spec
	Platform   platform
}

// platform is what the bits of a result may depend on besides the program's
// inputs.
type platform struct {
	Version string // of Galvani
	Go      string // of the Go tool chain
	Arch    string
	ISA     kernel.ISA
	BF16    bool // products in bf16 are the processor's own
}

func thisPlatform(version string) platform {
	return platform{version, runtime.Version(), runtime.GOARCH, kernel.ActiveISA(), kernel.HasBF16()}
}

// recordOutcome is what came out of a step besides tensors.
type recordOutcome struct {
	Loss, GradNorm uint64 // bits of float64, which may be no number
	Failure        string // why the step changed no parameter; empty if it did
	Sent           []sentMessage
}

// sentMessage is a tensor that a rank sent.
type sentMessage struct {
	Name   string // of the exchange
	Size   int    // elements
	CRC32C uint32
}

// recordPath is where the record of a step, from 1, of a rank goes.
func recordPath(out string, step, rank int) string {
	return filepath.Join(out, fmt.Sprintf("record-step-%d-rank-%d.galvani", step, rank))
}

// checkRecord checks --record-step and --record-rank against the run.
func (s *setup) checkRecord(context.Context) error {
	c := s.config
	if c.RecordStep == 0 {
		return nil
	}
	if s.manifest != nil && c.RecordStep <= s.manifest.Step {
		s.say("record", "step %d was taken before, so there is nothing to record", c.RecordStep)
		return nil
	}
	if c.RecordRank >= c.Workers {
		return fmt.Errorf("--record-rank %d: the run has %d workers, from 0", c.RecordRank, c.Workers)
	}
	return nil
}

// recorder records one step of a rank, if the spec asks for it. Its Comm is
// between the rank's program and the others.
type recorder struct {
	tapped
	step     int // from 0
	messages messages

	mu   sync.Mutex // a program may exchange tensors beside computing
	file *recordWriter
	sent []sentMessage
}

// newRecorder returns the recorder of a rank, nil if it is to record nothing.
func newRecorder(spec *Spec, number int, c exec.Comm) *recorder {
	if spec.Config.RecordStep == 0 || spec.Config.RecordRank != number {
		return nil
	}
	r := &recorder{step: spec.Config.RecordStep - 1}
	r.tapped = tapped{c, r.exchange}
	return r
}

// wants reports whether this is the step to record.
func (r *recorder) wants(step int) bool { return r != nil && r.step == step }

// record takes the step, and writes down what it depends on and what it gives.
// A step whose gradient is not finite is recorded too.
func (r *recorder) record(ctx context.Context, rank *rank, step int, feed func(exec.MicroBatch) error) (stats exec.Stats, err error) {
	path := recordPath(rank.spec.Out, step+1, rank.number)
	if err := os.MkdirAll(rank.spec.Out, 0o777); err != nil {
		return stats, err
	}
	var nonFinite *exec.NonFiniteError
	err = atomicfile.WriteStream(path, func(w io.Writer) error {
		file := recordWriter{w}
		err := r.begin(file, rank)
		if err != nil {
			return err
		}
		stats, err = rank.take(ctx, step, func(mb exec.MicroBatch) error {
			if err := feed(mb); err != nil {
				return err
			}
			return r.inputs(rank, mb)
		})
		if err != nil && !errors.As(err, &nonFinite) {
			return err
		}
		return r.end(file, rank, outcomeOf(stats, nonFinite))
	})
	switch {
	case err != nil:
		return stats, fmt.Errorf("recording step %d: %w", step+1, err)
	case nonFinite != nil:
		return stats, fmt.Errorf("%w (recorded in %s)", nonFinite, path)
	}
	return stats, nil
}

func outcomeOf(s exec.Stats, failure *exec.NonFiniteError) recordOutcome {
	o := recordOutcome{Loss: math.Float64bits(s.Loss), GradNorm: math.Float64bits(s.GradNorm)}
	if failure != nil {
		o.Failure = failure.Error()
	}
	return o
}

// begin writes what is known before the step.
func (r *recorder) begin(file recordWriter, rank *rank) error {
	spec := *rank.spec
	spec.Config.NATS = "" // its URL may hold a password
	err := errors.Join(file.begin(), file.json(sectionStep, recordHead{
		Step: r.step + 1, Rank: rank.number, Spec: &spec, Platform: thisPlatform(spec.Version),
	}))
	if err != nil {
		return err
	}
	if err := writeState(file, "before/", rank.machine.Params()); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.file = &file
	return nil
}

// end writes what the step gave.
func (r *recorder) end(file recordWriter, rank *rank, o recordOutcome) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.Sent, r.file = r.sent, nil
	if err := writeState(file, "after/", rank.machine.Params()); err != nil {
		return err
	}
	return file.json(sectionOutcome, o)
}

// named is a tensor of a rank's state.
type named struct {
	name string
	x    []float32
}

// stateOf returns a parameter and its two moments.
func stateOf(p exec.Param) [3]named {
	name := p.Shard.Param.Name
	return [3]named{{name, p.Value}, {name + firstSuffix, p.M}, {name + squareSuffix, p.V}}
}

func writeState(file recordWriter, prefix string, params []exec.Param) error {
	for _, p := range params {
		for _, s := range stateOf(p) {
			if err := writeTensor(file, prefix+s.name, s.x); err != nil {
				return err
			}
		}
	}
	return nil
}

// inputs writes what a micro-batch reads.
func (r *recorder) inputs(rank *rank, mb exec.MicroBatch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, in := range rank.part.Stage.Inputs {
		label, t := inputLabel(mb, in.Name), rank.machine.Input(mb.Slot, in.Name)
		var err error
		if t.Ints != nil {
			err = writeTensor(*r.file, label, t.Ints)
		} else if t.Floats != nil {
			err = writeTensor(*r.file, label, t.Floats)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func inputLabel(mb exec.MicroBatch, name string) string {
	return "input/" + strconv.Itoa(mb.Index) + "/" + name
}

// exchange is the recorder's tap.
func (r *recorder) exchange(kind string, sent, received []float32, call func() error) error {
	name := r.send(kind, sent)
	if err := call(); err != nil || name == "" {
		return err
	}
	return r.receive(name, received)
}

// send notes what an exchange sends and names it; the name is empty outside the
// step to record.
func (r *recorder) send(kind string, x []float32) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return ""
	}
	name := r.messages.name(kind)
	if x != nil {
		r.sent = append(r.sent, sentMessage{name, len(x), checksum(x)})
	}
	return name
}

// receive writes what an exchange received.
func (r *recorder) receive(name string, x []float32) error {
	if x == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return fmt.Errorf("%s: ended after its step", name)
	}
	return writeTensor(*r.file, receivedLabel(name), x)
}

func receivedLabel(message string) string { return "received/" + message }
