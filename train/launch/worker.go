package launch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/galvani-ml/galvani/comm"
)

// Service does a worker's part of a job. When ctx ends it returns.
type Service func(ctx context.Context, member *comm.Member, spec []byte) error

// Work is a worker process: it reads an invitation from in, joins the job and
// does its part, by the service that the job's kind names, until that is done.
// It ends early if in ends, since then its coordinator is gone.
func Work(ctx context.Context, in io.Reader, services map[string]Service) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lines := bufio.NewReader(in)
	line, err := readLine(lines)
	if err != nil {
		return fmt.Errorf("worker: reading the invitation from standard input: %w; workers are started by `galvani train`", err)
	}
	inv, err := decodeInvite(line)
	if err != nil {
		return fmt.Errorf("worker: invitation: %w; workers are started by `galvani train`", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, lines) // however it ends, the coordinator is gone
		cancel(errors.New("worker: the coordinator is gone"))
	}()
	session, err := comm.Dial(ctx, inv.Server, fmt.Sprintf("worker %d", inv.Rank))
	if err != nil {
		return err
	}
	defer session.Close()
	join, done := context.WithTimeout(ctx, joinTimeout)
	defer done()
	member, err := comm.Join(join, session, comm.JoinOptions{Job: inv.Job, Rank: inv.Rank, Version: inv.Version})
	if err != nil {
		return err
	}
	defer member.Close()
	go func() {
		select {
		case <-session.Done():
			cancel(session.Err())
		case <-ctx.Done():
		}
	}()
	err = serve(ctx, member, services)
	if err != nil && ctx.Err() == nil {
		return errors.Join(err, member.Fail(context.Background(), err))
	}
	return err
}

// maxInvite bounds an invitation; real ones are of some hundred bytes.
const maxInvite = 64 << 10

// readLine reads a line of at most maxInvite bytes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if line = append(line, part...); len(line) > maxInvite {
			return nil, fmt.Errorf("its first line is longer than %d bytes", maxInvite)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// decodeInvite reads an invitation. Errors tell none of it, for it holds secrets.
func decodeInvite(line []byte) (invite, error) {
	var inv invite
	if err := json.Unmarshal(line, &inv); err != nil {
		return inv, errors.New("it is no invitation")
	}
	if inv.Rank < comm.AnyRank {
		return inv, fmt.Errorf("rank %d", inv.Rank)
	}
	return inv, nil
}

// decodeAssignment finds what a worker is to do, of what it can.
func decodeAssignment(text []byte, services map[string]Service) (Service, json.RawMessage, error) {
	var a assignment
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, nil, fmt.Errorf("job spec: %w", err)
	}
	service := services[a.Kind]
	if service == nil {
		return nil, nil, fmt.Errorf("job spec: of kind %.100q; this program knows %q", a.Kind, slices.Sorted(maps.Keys(services)))
	}
	return service, a.Spec, nil
}

// serve does a member's part of the job.
func serve(ctx context.Context, member *comm.Member, services map[string]Service) error {
	text, err := member.Spec(ctx)
	if err != nil {
		return err
	}
	service, spec, err := decodeAssignment(text, services)
	if err != nil {
		return err
	}
	return service(ctx, member, spec)
}
