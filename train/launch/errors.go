package launch

import (
	"errors"
	"fmt"

	"github.com/galvani-ml/galvani/comm"
)

// WorkerError says which worker a job failed for, and why.
type WorkerError struct{ *comm.PeerError }

// Error names the worker and gives the reason.
func (e *WorkerError) Error() string { return fmt.Sprintf("worker %d: %v", e.Rank, e.Cause) }

// Unwrap returns the error of package comm.
func (e *WorkerError) Unwrap() error { return e.PeerError }

// Transient reports whether a job that failed with err may well succeed in a
// new epoch: a process was lost, or communication was. What a worker reports of
// its own computation or files would come again.
func Transient(err error) bool {
	if exit, ok := errors.AsType[*ExitError](err); ok {
		return exit.crashed() || exit.silent
	}
	return comm.Transient(err)
}
