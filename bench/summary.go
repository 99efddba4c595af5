package bench

import "slices"

// summarize makes the result of our side and its peers.
func summarize(o TrainOptions, w workload, us *contestant, peers []*contestant) Result {
	our := us.side(w)
	t := &Training{
		Workload: w.Label, Side: our, Peak: us.peak(),
		Theirs: map[string]Side{}, PeersMin: map[string]float64{}, PeersMax: map[string]float64{}, MemoryOfPeers: map[string]float64{},
		Rounds: o.Rounds, Steps: o.Steps, Threads: o.Threads,
	}
	r := Result{Suite: "train", Name: w.Name(), Value: our.TokensPerSecond, Unit: "tokens/s", Peers: map[string]float64{}, Training: t}
	if t.Peak > 0 {
		r.OfPeak = our.GFLOPs / t.Peak
	}
	for _, p := range peers {
		ratios, their := us.over(p), p.side(w)
		t.Theirs[p.name] = their
		r.Peers[p.name] = median(ratios)
		t.PeersMin[p.name], t.PeersMax[p.name] = slices.Min(ratios), slices.Max(ratios)
		if our.MemoryBytes > 0 && their.MemoryBytes > 0 {
			t.MemoryOfPeers[p.name] = float64(our.MemoryBytes) / float64(their.MemoryBytes)
		}
	}
	return r
}

// over are the ratios of the speeds of two sides, by round.
func (c *contestant) over(peer *contestant) []float64 {
	var ratios []float64
	for i := range c.rounds {
		ratios = append(ratios, median(peer.rounds[i].Seconds)/median(c.rounds[i].Seconds))
	}
	return ratios
}

// peak is the median over the rounds of what the processor does at most, 0 where
// the side does not tell.
func (c *contestant) peak() float64 {
	var peaks []float64
	for _, r := range c.rounds {
		peaks = append(peaks, r.Limit)
	}
	return median(peaks)
}

// side sums the rounds up.
func (c *contestant) side(w workload) Side {
	var seconds []float64
	var alloc float64
	for _, r := range c.rounds {
		seconds = append(seconds, r.Seconds...)
		alloc += float64(r.Alloc)
	}
	typical := median(seconds)
	s := Side{
		TokensPerSecond: float64(w.Tokens()) / typical,
		GFLOPs:          w.FLOPs() / typical / 1e9,
		Seconds:         typical,
		SecondsMin:      slices.Min(seconds),
		SecondsMax:      slices.Max(seconds),
		AllocBytes:      alloc / float64(len(seconds)),
		MemoryBytes:     c.last().Peak,
		Version:         c.version(),
	}
	if losses := c.last().Losses; len(losses) > 0 {
		s.Loss = losses[len(losses)-1]
	}
	return s
}

// median is the middle value, or the mean of the middle two.
func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	n := len(x)
	return (x[(n-1)/2] + x[n/2]) / 2
}
