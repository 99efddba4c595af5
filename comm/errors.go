package comm

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrClosed is the error of calls on something that its owner has closed.
var ErrClosed = errors.New("comm: closed")

// TimeoutError says that a wait passed its deadline. It matches
// [context.DeadlineExceeded] under errors.Is.
type TimeoutError struct {
	Op     string // "send", "recv", "connect", ...
	Rank   int    // who waited
	Peer   int    // whom it waited for
	Tag    Tag    // what for
	Waited time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("comm: %s: rank %d waited %v for rank %d (%v): check that rank %d is alive and runs the same step, or raise the deadline",
		e.Op, e.Rank, e.Waited.Round(time.Millisecond), e.Peer, e.Tag, e.Peer)
}

// Timeout reports true, as net.Error does.
func (e *TimeoutError) Timeout() bool { return true }

// Unwrap returns [context.DeadlineExceeded].
func (e *TimeoutError) Unwrap() error { return context.DeadlineExceeded }

// PeerError says that another rank failed, closed or vanished, and why.
type PeerError struct {
	Rank  int // the rank that failed
	Cause error
}

func (e *PeerError) Error() string { return fmt.Sprintf("comm: rank %d failed: %v", e.Rank, e.Cause) }

// Unwrap returns the cause. A cause that crossed the wire is its text only.
func (e *PeerError) Unwrap() error { return e.Cause }

// Corruption is the kind of a [CorruptError].
type Corruption string

// The ways frames go wrong.
const (
	Gap         Corruption = "gap"          // a frame is missing
	Duplicate   Corruption = "duplicate"    // a frame came twice
	BadHeader   Corruption = "bad header"   // a header that no peer would send
	BadChecksum Corruption = "bad checksum" // payload bytes changed on the way
	StaleEpoch  Corruption = "stale epoch"  // a frame of another life of the job
	Overrun     Corruption = "overrun"      // frames, edges or credits beyond what may be under way
)

// CorruptError says that the frames of a peer did not arrive as they were sent.
type CorruptError struct {
	Kind   Corruption
	Rank   int // who noticed
	Peer   int // who sent; -1 if the header does not tell
	Tag    Tag
	Detail string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("comm: %s in the frames from rank %d to rank %d (%v): %s", e.Kind, e.Peer, e.Rank, e.Tag, e.Detail)
}

// MismatchError says that the peer sent another tensor than this rank asked
// for: the ranks run different programs.
type MismatchError struct {
	Rank, Peer          int
	Want, Got           Tag
	WantBytes, GotBytes int64 // WantBytes is -1 where any size is accepted
	WantType, GotType   DType
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("comm: rank %d expects %s from rank %d, which sent %s: all ranks must run the same operations in the same order with the same sizes",
		e.Rank, describe(e.Want, e.WantType, e.WantBytes), e.Peer, describe(e.Got, e.GotType, e.GotBytes))
}

func describe(t Tag, d DType, bytes int64) string {
	if bytes < 0 {
		return fmt.Sprintf("%v of %v", t, d)
	}
	return fmt.Sprintf("%v of %d bytes of %v", t, bytes, d)
}

// ConnError says that a connection to the NATS server broke, or that the server
// or the client library reported an error on it. Server holds no secrets.
type ConnError struct {
	Server string
	Cause  error
}

func (e *ConnError) Error() string { return fmt.Sprintf("comm: NATS server %s: %v", e.Server, e.Cause) }

// Unwrap returns the cause.
func (e *ConnError) Unwrap() error { return e.Cause }

// LeaseError says that a process sent no heartbeat for longer than its lease.
type LeaseError struct {
	Who    string        // "coordinator", or a worker with its host and pid
	Silent time.Duration // how long without a heartbeat
	Lease  time.Duration
	// Answers are what the workers were at then; none where a worker noticed it.
	Answers []Answer
}

func (e *LeaseError) Error() string {
	return fmt.Sprintf("%s: lease expired: no heartbeat for %v (lease %v): the process was killed, suspended or cut off",
		e.Who, e.Silent.Round(10*time.Millisecond), e.Lease)
}

// AbortError is the session error of a worker whose coordinator ended the job.
type AbortError struct {
	Rank   int // the rank that caused it, -1 if none did
	Reason string
}

func (e *AbortError) Error() string { return "comm: the coordinator aborted the job: " + e.Reason }

// reportedError is the cause that a worker gave for its end.
type reportedError struct {
	reason    string
	transient bool
}

func (e *reportedError) Error() string { return e.reason }

// Transient reports whether err is of communication or of a lost process, so
// that the same job may well succeed in a new epoch. Of what a worker reported,
// the worker has judged. Errors of any other kind, such as those of a worker's
// own computation or files, would come again, and so would a [MismatchError].
func Transient(err error) bool {
	if reported, ok := errors.AsType[*reportedError](err); ok {
		return reported.transient
	}
	return !errors.As(err, new(*MismatchError)) &&
		(errors.As(err, new(*TimeoutError)) || errors.As(err, new(*PeerError)) || errors.As(err, new(*CorruptError)) ||
			errors.As(err, new(*ConnError)) || errors.As(err, new(*LeaseError)) || errors.As(err, new(*AbortError)))
}
