package launch

import (
	"context"

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
func openHub(ctx context.Context, url string, workers int, version string) (_ *hub, err error) {
	h := &hub{endpoint: comm.Endpoint{URL: url}, job: comm.NewJob()}
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
	if h.session, err = comm.Dial(ctx, h.endpoint, "coordinator"); err != nil {
		return nil, err
	}
	h.coordinator, err = comm.NewCoordinator(ctx, h.session, comm.CoordinatorOptions{
		Job: h.job, Workers: workers, Version: version,
	})
	return h, err
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
