package simulate

// Summary says where the time and the memory of a step go. Times are seconds.
type Summary struct {
	Step   float64        `json:"step_seconds"`
	Stages []StageSummary `json:"stages"`
	Links  []LinkSummary  `json:"links,omitempty"` // in the order in which tasks name them
}

// StageSummary is a stage's. Compute, Update, Communication and Bubble add up to
// the step.
type StageSummary struct {
	Compute       float64 `json:"compute_seconds"`       // of forward and backward passes
	Update        float64 `json:"update_seconds"`        // computation of the update
	Communication float64 `json:"communication_seconds"` // that the computation waited for exchanges, and for messages on their way
	Bubble        float64 `json:"bubble_seconds"`        // that it waited for other stages
	// Exchanges is how long exchanges were under way, beside the computation or
	// not.
	Exchanges float64 `json:"exchange_seconds"`
	Inflight  int     `json:"in_flight"`         // micro-batches between their passes, at most
	Memory    int64   `json:"memory_bytes"`      // most that a rank held
	MemoryAt  float64 `json:"memory_at_seconds"` // when that was first so
}

// LinkSummary is that of a link that several exchanges share.
type LinkSummary struct {
	Name  string  `json:"name"`
	Rate  float64 `json:"bytes_per_second"`
	Bytes float64 `json:"bytes"`        // of all flows
	Busy  float64 `json:"busy_seconds"` // with a flow or more
}

// add adds time of the computation's thread.
func (s *StageSummary) add(k Kind, p Pass, seconds float64) {
	switch {
	case k == Bubble:
		s.Bubble += seconds
	case k == Stall:
		s.Communication += seconds
	case p == Update:
		s.Update += seconds
	default:
		s.Compute += seconds
	}
}

// share is what part of the stages' time something takes.
func (s *Summary) share(of func(*StageSummary) float64) float64 {
	if s.Step == 0 {
		return 0
	}
	sum := 0.0
	for i := range s.Stages {
		sum += of(&s.Stages[i]) / s.Step
	}
	return sum / float64(len(s.Stages))
}

// BubbleShare is the part of all stages' time that they wait for others, 0 to 1.
func (s *Summary) BubbleShare() float64 {
	return s.share(func(x *StageSummary) float64 { return x.Bubble })
}

// CommunicationShare is the part of all stages' time that computation waits for
// exchanges, 0 to 1.
func (s *Summary) CommunicationShare() float64 {
	return s.share(func(x *StageSummary) float64 { return x.Communication })
}

// UpdateShare is the part of all stages' time that the update computes, 0 to 1.
func (s *Summary) UpdateShare() float64 {
	return s.share(func(x *StageSummary) float64 { return x.Update })
}

// summary sums up the step that was played.
func (e *engine) summary() Summary {
	s := Summary{Step: e.now}
	for _, p := range e.players {
		s.Stages = append(s.Stages, p.use)
	}
	for _, l := range e.inOrder {
		s.Links = append(s.Links, LinkSummary{Name: l.Name, Rate: l.Rate, Bytes: l.bytes, Busy: l.pool.busy})
	}
	return s
}
