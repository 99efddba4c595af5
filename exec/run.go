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
	if m.reducing {
		return m.updateFirst(mb)
	}
	err := m.prepare(ctx, mb)
	if err == nil {
		err = m.run(ctx, m.forward, mb, false)
	}
	return m.finish(ctx, err)
}

// Backward computes the gradients of a micro-batch whose forward pass ran in
// the same slot. The first of a step overwrites the gradients, all others add
// to them. After the one that is marked as the step's last, [Machine.Update] must
// come next, and gradients are in flux until it returns.
func (m *Machine) Backward(ctx context.Context, mb MicroBatch, first bool) error {
	if !m.program.opts.Train {
		return fmt.Errorf("exec: the program has no backward pass: compile it with Options.Train")
	}
	if m.reducing {
		return m.updateFirst(mb)
	}
	if first {
		m.sumLoss = 0
	}
	m.sumLoss += float64(m.Loss(mb.Slot))
	m.last, m.reducing = mb, mb.Last && m.queue != nil
	err := m.run(ctx, m.backward, mb, first)
	if m.reducing && err == nil {
		return nil // Update waits for the rest
	}
	return m.finish(ctx, err)
}

func (m *Machine) updateFirst(mb MicroBatch) error {
	return fmt.Errorf("exec: step %d, micro-batch %d: after a backward pass with MicroBatch.Last, Update comes next", mb.Step, mb.Index)
}

func (m *Machine) run(ctx context.Context, pass []instruction, mb MicroBatch, first bool) error {
	if mb.Slot < 0 || mb.Slot >= m.program.opts.Slots {
		return fmt.Errorf("exec: step %d, micro-batch %d: slot %d of a program with %d", mb.Step, mb.Index, mb.Slot, m.program.opts.Slots)
	}
	m.computing.enter(mb)
	for i := range pass {
		s := &pass[i]
		m.computing.at.Store(&s.at)
		if err := m.awaitAll(ctx, s.waits); err != nil {
			return err
		}
		err := ctx.Err()
		if err == nil {
			err = m.execute(ctx, s, mb, first)
		}
		if err != nil {
			return m.failure(s, mb, err)
		}
		m.startReady(ctx, s, mb)
	}
	return nil
}

// failure is the error of an instruction.
func (m *Machine) failure(s *instruction, mb MicroBatch, err error) error {
	return &RunError{MicroBatch: mb, Tag: s.tag, Kind: m.program.kinds[s.kind].name, Err: err}
}

// execute runs one instruction, or starts it.
func (m *Machine) execute(ctx context.Context, s *instruction, mb MicroBatch, first bool) error {
	if s.exchange != nil && m.queue != nil {
		if m.reducing && s.early {
			return nil // began in the backward pass
		}
		if !s.next || !m.queue.idle() {
			m.start(ctx, s, mb, first)
			return nil
		}
	}
	a := m.arguments(s, mb, first)
	if s.exchange == nil {
		return m.compute(s, a)
	}
	start := time.Now()
	err := s.exchange(ctx, m.comm, mb, s.name, a)
	m.took(s.step, time.Since(start))
	return err
}

// arguments are the memory of an instruction that is about to run.
func (m *Machine) arguments(s *instruction, mb MicroBatch, first bool) *Args {
	a := &s.args[mb.Slot]
	for k, mode := range s.modes {
		a.Add[k] = mode == writeAdd || mode == writeFirst && !first
	}
	if m.profile != nil {
		t := &m.profile[s.step.kind]
		t.Count++
		t.FLOPs += s.kernel.FLOPs
	}
	return a
}
