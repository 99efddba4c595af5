package train

import (
	"context"
	"fmt"

	"github.com/galvani-ml/galvani/train/planning"
)

// defaultWorkers is how many workers there are where neither --workers nor a
// plan says so.
const defaultWorkers = 2

// autoPlan searches for the fastest plan for the workers.
func (s *setup) autoPlan(ctx context.Context) error {
	r, err := s.request(nil, s.config.Batch)
	if err != nil {
		return err
	}
	if err := s.describeCluster(ctx, &r, false); err != nil {
		return err
	}
	p, err := planning.Open(r)
	if err != nil {
		return fmt.Errorf("--plan auto: %w", err)
	}
	defer p.Close()
	found, err := p.Choose(ctx)
	if err != nil {
		return fmt.Errorf("--plan auto: %w", err)
	}
	s.plan, s.found = s.signed(found.Plan), found
	s.reasons, err = p.Reasons(found)
	return err
}
