package train

import (
	"context"
	"sync/atomic"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec"
)

// metered is a transport that counts what it sends.
type metered struct {
	comm.Transport
	sent atomic.Int64 // bytes of tensors and messages, without headers
}

// Unwrap returns the transport that sends.
func (t *metered) Unwrap() comm.Transport { return t.Transport }

// Count counts what a collective moved without sending it.
func (t *metered) Count(bytes int) { t.sent.Add(int64(bytes)) }

// Send counts x and sends it.
func (t *metered) Send(ctx context.Context, dst int, tag comm.Tag, x []float32) error {
	t.sent.Add(int64(4 * len(x)))
	return t.Transport.Send(ctx, dst, tag, x)
}

// SendBytes counts x and sends it.
func (t *metered) SendBytes(ctx context.Context, dst int, tag comm.Tag, x []byte) error {
	t.sent.Add(int64(len(x)))
	return t.Transport.SendBytes(ctx, dst, tag, x)
}

// meter tells what exchanges with other ranks took of a step.
type meter struct {
	machine   *exec.Machine
	transport *metered
	pipeline  bool // the plan has stages

	waited exec.Waited
	sent   int64
}

// begin notes where a step begins.
func (m *meter) begin() { m.waited, m.sent = m.machine.Waited(), m.transport.sent.Load() }

// end tells what there was since.
func (m *meter) end() exchanged {
	return split(m.machine.Waited().Sub(m.waited), m.pipeline, m.transport.sent.Load()-m.sent)
}

// exchanged is what exchanges with other ranks took of a worker's step. Time
// during which it computed beside them does not count.
type exchanged struct {
	// CommunicationSeconds is the time it waited for collectives and for sends.
	CommunicationSeconds float64
	// WaitSeconds is the time it waited for other pipeline stages: in receives
	// of activations and gradients, and, done with its own part of the step, in
	// the sums that join all stages. It holds the bubble of the schedule and
	// the way of what is received.
	WaitSeconds float64
	SentBytes   int64
}

// computed is the time of a step that a worker spent on its own.
func (r stepReport) computed() float64 {
	return r.Seconds - r.CommunicationSeconds - r.WaitSeconds
}

// split divides what a worker waited. Without stages, the sums at the end of a
// step are collectives as any others.
func split(w exec.Waited, pipeline bool, sent int64) exchanged {
	wait := w.Receives
	if pipeline {
		wait += w.Across
	}
	return exchanged{(w.Total() - wait).Seconds(), wait.Seconds(), sent}
}

// meanOf is the mean over workers.
func meanOf(all []stepReport) exchanged {
	var sum exchanged
	for _, r := range all {
		sum.CommunicationSeconds += r.CommunicationSeconds
		sum.WaitSeconds += r.WaitSeconds
		sum.SentBytes += r.SentBytes
	}
	n := len(all)
	return exchanged{sum.CommunicationSeconds / float64(n), sum.WaitSeconds / float64(n), sum.SentBytes / int64(n)}
}
