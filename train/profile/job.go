package profile

import (
	"context"
	"errors"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/train/launch"
)

// run has worker processes measure.
func run(ctx context.Context, o Options, s spec) (*found, error) {
	job, err := launch.Start(ctx, launch.Options{
		Kind: jobKind, NATS: o.NATS, Workers: o.Workers, Version: o.Version,
		Advice: "use fewer --workers",
	}, s)
	if err != nil {
		return nil, err
	}
	defer job.Close()
	var f *found
	handle := func(e comm.Event) (last bool, err error) {
		switch e.Kind {
		case eventProgress:
			o.say("measuring", string(e.Data))
			return false, nil
		case eventFound:
			f, err = decodeFound(e.Data, o.Workers)
			return true, err
		case eventDone:
			return true, nil
		}
		return false, errors.New("unknown kind")
	}
	if err := job.Follow(ctx, handle, func() error { return context.Cause(ctx) }); err != nil {
		return nil, err
	}
	if f == nil {
		return nil, errors.New("profile: no worker has reported what was measured")
	}
	return f, nil
}
