package profile

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/train/launch"
)

// exchangeTimeout bounds each wait for another rank.
const exchangeTimeout = time.Minute

// Services are what worker processes must be able to do for this package, see
// [launch.Work].
func Services() map[string]launch.Service { return map[string]launch.Service{jobKind: serve} }

// serve does a worker's part of a measurement.
func serve(ctx context.Context, member *comm.Member, text []byte) error {
	s := &stand{member: member}
	var err error
	if s.spec, err = decodeSpec(text); err != nil {
		return fmt.Errorf("job spec: %w", err)
	}
	if err := kernel.StartError(); err != nil {
		return err
	}
	s.pool = kernel.NewPool(s.spec.Threads)
	defer s.pool.Close()
	var routes comm.Routes
	if s.transport, routes, err = member.Transport(ctx, comm.TransportOptions{Plane: s.spec.Plane, Timeout: exchangeTimeout}); err != nil {
		return err
	}
	defer s.transport.Close()
	if s.world, err = newGroup(s.transport, layout{member.Size(), 1}, worldID); err != nil {
		return err
	}
	f, err := s.measureAll(ctx)
	if err != nil {
		return err
	}
	f.Plane = comm.NATS
	if member.Size() > 1 {
		f.Plane = routes.Plane[0][1] // ranks of one host have one plane
	}
	if member.Rank() > 0 {
		return member.ReportAck(ctx, eventDone, nil)
	}
	if text, err = json.Marshal(f); err != nil {
		return err
	}
	return member.ReportAck(ctx, eventFound, text)
}

// stand is a worker that measures together with the others.
type stand struct {
	spec      spec
	member    *comm.Member
	transport comm.Transport
	world     *comm.Group
	pool      *kernel.Pool
	sends     uint64 // messages sent or received, which numbers them
}

// worldID is the group of all ranks; layout number i has worldID+1+i.
const worldID = 0

// newGroup is the group of this rank in a layout.
func newGroup(t comm.Transport, l layout, id uint32) (*comm.Group, error) {
	ranks, _ := l.group(t.Rank())
	return comm.NewGroup(t, id, ranks)
}

// measureAll measures in the order of what the results need.
func (s *stand) measureAll(ctx context.Context) (*found, error) {
	var f found
	if err := s.measureDevice(ctx, &f); err != nil {
		return nil, err
	}
	if err := s.measureExchanges(ctx, &f); err != nil {
		return nil, err
	}
	if s.member.Size() > 1 {
		if err := s.measureOverlap(ctx, &f); err != nil {
			return nil, err
		}
	}
	return &f, nil
}

// say tells the coordinator what is measured next.
func (s *stand) say(format string, args ...any) error {
	if s.member.Rank() > 0 {
		return nil
	}
	return s.member.Report(eventProgress, fmt.Appendf(nil, format, args...))
}
