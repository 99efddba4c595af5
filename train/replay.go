package train

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/parallel"
)

// ReplayOptions say how to replay a record.
type ReplayOptions struct {
	Threads int    // fewer than 1 means one for each processor
	Version string // of this program
}

// Replayed is what replaying a record found.
type Replayed struct {
	File     string       `json:"file"`
	Step     int          `json:"step"` // from 1
	Rank     int          `json:"rank"`
	Plan     string       `json:"plan"`
	Version  string       `json:"version"` // that recorded the step
	ISA      string       `json:"isa"`     // of the kernels that did
	Equal    bool         `json:"equal"`   // every bit compared
	Compared []Comparison `json:"compared"`
	Warnings []string     `json:"warnings,omitempty"`
}

// Replay takes the step of a record again, in this process alone: what the
// rank had received from others then, it receives from the file. It compares
// the bits of what comes out. Errors about the file are a *[RecordError].
func Replay(ctx context.Context, path string, o ReplayOptions) (*Replayed, error) {
	file, err := openRecord(path)
	if err != nil {
		return nil, err
	}
	defer file.close()
	var head recordHead
	if err := file.json(sectionStep, &head); err != nil {
		return nil, err
	}
	if err := head.validate(); err != nil {
		return nil, file.errorf("%w", err)
	}
	backend, err := cpu.New(o.Threads)
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	part, program, err := compileRank(head.Spec, head.Rank, backend)
	if err != nil {
		return nil, file.errorf("%w", err)
	}
	if err := file.holds(part); err != nil {
		return nil, err
	}
	p := &playback{file: file}
	machine, err := exec.New(program, tapped{tap: p.exchange})
	if err != nil {
		return nil, err
	}
	defer machine.Close()
	p.rank = &rank{spec: head.Spec, number: head.Rank, part: part, machine: machine}
	compared, err := p.run(ctx, head.Step-1)
	if err != nil {
		return nil, err
	}
	r := &Replayed{
		File: path, Step: head.Step, Rank: head.Rank, Plan: head.Spec.Plan.String(), Version: head.Platform.Version, ISA: string(head.Platform.ISA),
		Equal: true, Compared: compared, Warnings: head.warnings(thisPlatform(o.Version)),
	}
	for _, c := range compared {
		r.Equal = r.Equal && c.Different == 0
	}
	return r, nil
}

// validate checks what the rest of the replay takes for granted.
func (h *recordHead) validate() error {
	if h.Spec == nil || h.Spec.Plan == nil || h.Step < 1 {
		return fmt.Errorf("section %q describes no step", sectionStep)
	}
	if err := h.Spec.validate(); err != nil {
		return err
	}
	if size := h.Spec.Plan.Mesh().Size(); h.Rank < 0 || h.Rank >= size {
		return fmt.Errorf("rank %d of a plan of %d", h.Rank, size)
	}
	return nil
}

// holds checks, before any memory is taken, that the record has the parameters of
// a rank's part.
func (f *recordFile) holds(part *parallel.Part) error {
	for _, s := range part.Stage.Params {
		label := "before/" + s.Param.Name
		have, ok := f.sections[label]
		if need := 4 * int64(s.Node.Shape().TotalSize()); !ok || have.size != need {
			return f.errorf("tensor %q has %d bytes, this version needs %d", label, have.size, need)
		}
	}
	return nil
}

// warnings say why the bits of a step recorded there may differ from those of
// one taken here.
func (h *recordHead) warnings(here platform) []string {
	var all []string
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	there := h.Platform
	if there.Version != here.Version {
		warn("recorded by version %s, replayed by %s: bits differ where the arithmetic has changed between them", there.Version, here.Version)
	}
	if there.Arch != here.Arch || there.ISA != here.ISA {
		warn("recorded with %s kernels on %s, replayed with %s on %s: bits may differ by instruction set; %s=%[1]s, on a processor that has it, replays as recorded",
			there.ISA, there.Arch, here.ISA, here.Arch, kernel.EnvISA)
	} else if h.Spec.Config.Precision == string(exec.BF16) && there.BF16 != here.BF16 {
		warn("only one of the recording and this processor has instructions for bf16: bits may differ")
	}
	if there.Go != here.Go {
		warn("recorded by a program of %s, replayed by one of %s: bits may differ in portable kernels", there.Go, here.Go)
	}
	return all
}

// playback takes a recorded step. It is what a rank's program exchanges tensors
// with.
type playback struct {
	*rank
	file     *recordFile
	messages messages

	mu   sync.Mutex // a program may exchange tensors beside computing
	sent map[string]sentMessage
}

// run takes the step, counted from 0, and compares.
func (p *playback) run(ctx context.Context, step int) ([]Comparison, error) {
	p.sent = map[string]sentMessage{}
	var want recordOutcome
	if err := p.file.json(sectionOutcome, &want); err != nil {
		return nil, err
	}
	for _, param := range p.machine.Params() {
		for _, s := range stateOf(param) {
			if err := readTensor(p.file, "before/"+s.name, s.x); err != nil {
				return nil, err
			}
		}
	}
	stats, err := p.take(ctx, step, p.input)
	var nonFinite *exec.NonFiniteError
	if err != nil && !errors.As(err, &nonFinite) {
		return nil, err
	}
	state, err := p.compareState()
	if err != nil {
		return nil, err
	}
	got := outcomeOf(stats, nonFinite)
	all := []Comparison{p.compareSent(want.Sent), compareNumber("loss", want.Loss, got.Loss), compareNumber("gradient norm", want.GradNorm, got.GradNorm)}
	if want.Failure != "" || got.Failure != "" {
		all = append(all, compareText("failure", cmp.Or(want.Failure, "none"), cmp.Or(got.Failure, "none")))
	}
	return append(all, state[:]...), nil
}

// input fills the inputs of a micro-batch.
func (p *playback) input(mb exec.MicroBatch) error {
	for _, in := range p.part.Stage.Inputs {
		label, t := inputLabel(mb, in.Name), p.machine.Input(mb.Slot, in.Name)
		var err error
		if t.Ints != nil {
			err = readTensor(p.file, label, t.Ints)
		} else if t.Floats != nil {
			err = readTensor(p.file, label, t.Floats)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// exchange is the playback's tap.
func (p *playback) exchange(kind string, sent, received []float32, _ func() error) error {
	name := p.messages.name(kind)
	if sent != nil {
		m := sentMessage{name, len(sent), checksum(sent)}
		p.mu.Lock()
		p.sent[name] = m
		p.mu.Unlock()
	}
	if received == nil {
		return nil
	}
	label := receivedLabel(name)
	if _, ok := p.file.sections[label]; !ok {
		return p.file.errorf("this version's program receives what the recorded one did not: %s: replay it with the version that recorded it", name)
	}
	return readTensor(p.file, label, received)
}

// Write prints the report for a person or a program.
func (r *Replayed) Write(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-14s  %s\n", name, fmt.Sprintf(format, args...))
	}
	line("record", "step %d of worker %d under %s, version %s, %s kernels", r.Step, r.Rank, r.Plan, r.Version, r.ISA)
	for _, text := range r.Warnings {
		line("warning", "%s", text)
	}
	for _, c := range r.Compared {
		line(c.What, "%s", c)
		if c.First != nil {
			line("", "first: %s", c.First)
		}
	}
	return nil
}

// Err is nil where every bit is equal.
func (r *Replayed) Err() error {
	if r.Equal {
		return nil
	}
	for _, c := range r.Compared {
		if c.Different > 0 {
			return fmt.Errorf("replay: step %d of worker %d gives other bits than recorded: %s: %s", r.Step, r.Rank, c.What, c.First)
		}
	}
	return nil
}
