package exec

import (
	"context"
	"fmt"
	"time"
)

// Forward computes a micro-batch, whose inputs lie in its slot. The first one
// after a change of the parameters also runs what runs once a step. Errors of
// instructions are of type [*RunError]; a context that ends stops the pass
// between two instructions.
func (m *Machine) Forward(ctx context.Context, mb MicroBatch) error {
	if err := m.prepare(ctx, mb); err != nil {
		return err
	}
	return m.run(ctx, m.forward, mb, false)
}

// Backward computes the gradients of a micro-batch whose forward pass ran in
// the same slot. The first of a step overwrites the gradients, all others add
// to them.
func (m *Machine) Backward(ctx context.Context, mb MicroBatch, first bool) error {
	if !m.program.opts.Train {
		return fmt.Errorf("exec: the program has no backward pass: compile it with Options.Train")
	}
	if first {
		m.sumLoss = 0
	}
	m.sumLoss += float64(m.Loss(mb.Slot))
	m.last = mb
	return m.run(ctx, m.backward, mb, first)
}

func (m *Machine) run(ctx context.Context, pass []instruction, mb MicroBatch, first bool) error {
	if mb.Slot < 0 || mb.Slot >= m.program.opts.Slots {
		return fmt.Errorf("exec: step %d, micro-batch %d: slot %d of a program with %d", mb.Step, mb.Index, mb.Slot, m.program.opts.Slots)
	}
	for i := range pass {
		s := &pass[i]
		err := ctx.Err()
		if err == nil {
			err = m.execute(ctx, s, mb, first)
		}
		if err != nil {
			return &RunError{MicroBatch: mb, Tag: s.tag, Kind: m.program.kinds[s.kind].name, Err: err}
		}
	}
	return nil
}

// execute runs one instruction.
func (m *Machine) execute(ctx context.Context, s *instruction, mb MicroBatch, first bool) (err error) {
	a := &s.args[mb.Slot]
	for k, mode := range s.modes {
		a.Add[k] = mode == writeAdd || mode == writeFirst && !first
	}
	var start time.Time
	if m.profile != nil {
		start = time.Now()
	}
	if s.exchange != nil {
		err = s.exchange(ctx, m.comm, mb, s.name, a)
	} else {
		err = s.kernel.Run(a)
	}
	if m.profile != nil {
		t := &m.profile[s.step.kind]
		t.Count++
		t.Time += time.Since(start)
		t.FLOPs += s.kernel.FLOPs
	}
	return err
}
