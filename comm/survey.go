package comm

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// kindWhere is the command that [Member.Answer] answers.
const kindWhere = "where"

// Answer is what one worker says that it is at, or that it does not answer.
type Answer struct {
	Worker
	Heard  bool            `json:"heard"`
	Silent time.Duration   `json:"silent"`         // since its last heartbeat, counted while the coordinator ran
	Now    time.Time       `json:"now"`            // its clock as it answered
	Data   json.RawMessage `json:"data,omitempty"` // see [Member.Answer]; none before that was called
}

// reply is an answer on its way.
type reply struct {
	Rank int             `json:"rank"`
	Now  time.Time       `json:"now"`
	Data json.RawMessage `json:"data,omitempty"`
}

// maxReply bounds an answer, in bytes.
const maxReply = 1 << 20

// decodeAnswer reads an answer.
func decodeAnswer(b []byte) (reply, error) {
	var r reply
	if len(b) > maxReply {
		return r, fmt.Errorf("comm: an answer of %d bytes: at most %d", len(b), maxReply)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("comm: answer: %w", err)
	}
	return r, nil
}

// Answer has describe say, in JSON, what this worker is at, whenever the
// coordinator asks. It is called on a goroutine of its own, and must not block.
func (m *Member) Answer(describe func() json.RawMessage) { m.describe.Store(&describe) }

// answer tells the coordinator what this worker is at.
func (m *Member) answer(msg *nats.Msg) {
	r := reply{Rank: m.rank, Now: time.Now()}
	if describe := m.describe.Load(); describe != nil {
		r.Data = (*describe)()
	}
	b, err := json.Marshal(r)
	if err == nil {
		err = msg.Respond(b)
	}
	if err != nil {
		m.session.fail(m.session.connError(fmt.Errorf("answering the coordinator: %w", err)))
	}
}

// Survey asks the workers what they are at, and returns an answer for each rank
// that has joined and not left: after limit at the latest, or when all whose
// heartbeats come have answered. It goes over the control connections, so it works
// while tensors are stuck.
func (c *Coordinator) Survey(limit time.Duration) ([]Answer, error) {
	ctx, cancel := context.WithTimeout(c.life, limit)
	defer cancel()
	var answers []Answer
	at := map[int]int{}
	awaited := 0
	c.mu.Lock()
	for _, w := range c.members {
		if w == nil || w.left {
			continue
		}
		at[w.Rank] = len(answers)
		answers = append(answers, Answer{Worker: w.Worker, Silent: w.lease.silent})
		if w.lease.silent <= w.lease.limit {
			awaited++
		}
	}
	c.mu.Unlock()
	inbox := nats.NewInbox()
	sub, err := c.session.control.SubscribeSync(inbox)
	if err != nil {
		return nil, c.session.connError(err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only if the connection is gone
	if err := c.session.control.PublishRequest(c.opt.Job.subject("cmd", kindWhere), inbox, nil); err != nil {
		return nil, c.session.connError(err)
	}
	for awaited > 0 {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			break // those who have not answered by now are reported so
		}
		r, err := decodeAnswer(m.Data)
		if err != nil {
			continue // reported as one who has not answered
		}
		if i, ok := at[r.Rank]; ok && !answers[i].Heard {
			answers[i].Heard, answers[i].Now, answers[i].Data = true, r.Now, r.Data
			awaited--
		}
	}
	return answers, nil
}

// witnessLimit is how long others may take to say what they wait for when a lease
// has run out. It adds to the time in which that is noticed, where one more does
// not answer.
const witnessLimit = 250 * time.Millisecond

// witness adds to the error of a lease that ran out what all are at.
func (c *Coordinator) witness(lease *LeaseError) {
	if answers, err := c.Survey(witnessLimit); err == nil {
		lease.Answers = answers
	}
}
