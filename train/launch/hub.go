package launch

import (
	"context"
	"errors"
	"time"

	"github.com/galvani-ml/galvani/comm"
)

// hub is the coordinator's end of a job's communication.
type hub struct {
	server      *comm.Server // nil where the server is external
	endpoint    comm.Endpoint
	session     *comm.Session
	job         comm.Job
	coordinator *comm.Coordinator
}

// openHub connects to the NATS server at url, or to one it starts where url is
// empty, and begins to coordinate a job.
func openHub(ctx context.Context, url string, workers int, version string, job comm.Job) (_ *hub, err error) {
	h := &hub{endpoint: comm.Endpoint{URL: url}, job: job}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if url == "" {
		if h.server, err = comm.Start(comm.ServerOptions{}); err != nil {
			return nil, err
		}
		h.endpoint = h.server.Endpoint()
	}
	if h.session, err = h.dial(ctx); err != nil {
		return nil, err
	}
	h.coordinator, err = comm.NewCoordinator(ctx, h.session, comm.CoordinatorOptions{
		Job: h.job, Workers: workers, Version: version,
	})
	return h, err
}

// redial is the time between attempts to connect to a server that was lost, and
// redialLimit that of the first attempt: each may take twice as long as the one
// before. While a link is cut, attempts end in silence.
const (
	redial      = 200 * time.Millisecond
	redialLimit = 500 * time.Millisecond
)

// dial connects to the server. In the first epoch its address may be wrong; in
// later ones the server may be on its way back, and is waited for until ctx
// ends.
func (h *hub) dial(ctx context.Context) (*comm.Session, error) {
	for limit := redialLimit; ; limit *= 2 {
		attempt, cancel := context.WithTimeout(ctx, limit)
		if h.job.Epoch == 1 {
			attempt = ctx
		}
		s, err := comm.Dial(attempt, h.endpoint, "coordinator")
		cancel()
		if err == nil || h.job.Epoch == 1 || !comm.Transient(err) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		case <-time.After(redial):
		}
	}
}

// close ends what was opened, the last first. What went wrong has been reported
// by then.
func (h *hub) close() {
	if h.coordinator != nil {
		_ = h.coordinator.Close()
	}
	if h.session != nil {
		_ = h.session.Close()
	}
	if h.server != nil {
		h.server.Shutdown()
	}
}
