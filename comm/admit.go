package comm

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
)

// maxText bounds texts of others that errors and logs repeat, in bytes: host
// names, versions, reasons.
const maxText = 16 << 10

// shortened is the beginning of a text.
func shortened(s string) string { return s[:min(len(s), maxText)] }

// decodeJoin reads a request to join. Its id becomes part of subjects, so only
// what cannot change them is taken.
func decodeJoin(b []byte) (joinRequest, error) {
	var req joinRequest
	if err := json.Unmarshal(b, &req); err != nil {
		return req, fmt.Errorf("comm: request to join: %w", err)
	}
	if err := checkToken("worker ID", shortened(req.ID)); err != nil {
		return req, err
	}
	req.Host, req.Version = shortened(req.Host), shortened(req.Version)
	return req, nil
}

// onJoin answers one request to join.
func (c *Coordinator) onJoin(m *nats.Msg) {
	reply := joinReply{Size: c.opt.Workers, Leases: c.opt.Leases}
	req, err := decodeJoin(m.Data)
	if err == nil {
		reply.Rank, err = c.admit(req)
	}
	if err != nil {
		reply.Error = err.Error()
	}
	b, err := json.Marshal(reply)
	if err == nil {
		err = m.Respond(b)
	}
	if err != nil {
		c.fail(c.session.connError(fmt.Errorf("answering a worker that joins: %w", err)))
	}
}

// admit gives a worker its rank.
func (c *Coordinator) admit(req joinRequest) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	free := -1
	for rank, m := range c.members {
		if m != nil && m.id == req.ID {
			return rank, nil // the answer to its first request came too late
		}
		if m == nil && free < 0 {
			free = rank
		}
	}
	if req.Rank == AnyRank {
		req.Rank = free
	}
	var err error
	switch {
	case req.Version != c.opt.Version:
		err = fmt.Errorf("worker on host %s, pid %d runs version %q, the coordinator %q: run the same build everywhere", req.Host, req.PID, req.Version, c.opt.Version)
	case free < 0:
		err = fmt.Errorf("worker on host %s, pid %d is one too many: all %d ranks have joined", req.Host, req.PID, c.opt.Workers)
	case req.Rank < 0 || req.Rank >= len(c.members):
		err = fmt.Errorf("%v: the job has ranks 0 to %d", req.Worker, len(c.members)-1)
	case c.members[req.Rank] != nil:
		err = fmt.Errorf("%v: that rank is taken by %v", req.Worker, c.members[req.Rank].Worker)
	}
	if err != nil {
		c.refused = append(c.refused[max(0, len(c.refused)-7):], err)
		return 0, err
	}
	c.members[req.Rank] = &memberState{Worker: req.Worker, id: req.ID, lease: c.opt.Leases.lease()}
	if c.joined++; c.joined == len(c.members) {
		close(c.all)
	}
	return req.Rank, nil
}
