package launch

import (
	"encoding/json"

	"github.com/galvani-ml/galvani/comm"
)

// invite is what a worker process reads from its standard input: where to join
// which job, as whom.
type invite struct {
	Server  comm.Endpoint
	Job     comm.Job
	Rank    int
	Version string
}

// assignment is what a worker gets when it has joined.
type assignment struct {
	Kind string // names a [Service]
	Spec json.RawMessage
}
