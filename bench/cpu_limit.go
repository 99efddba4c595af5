package bench

import (
	"slices"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/cpu/probe"
)

// bound is what limits a kernel.
type bound int

const (
	operations     bound = iota // operations of the instruction set in use
	operationsBF16              // the same of its instructions for bf16, if it has some
	reads                       // bytes read
	streams                     // bytes read, and bytes written elsewhere
	updates                     // bytes read, and as many written in their place
	bounds
)

// unit is that of figures so bound.
func (b bound) unit() string {
	if b == operations || b == operationsBF16 {
		return "GFLOP/s"
	}
	return "GB/s"
}

// probes are the loops that do nothing but meet the limits, by bound. They take
// their operands from a.
//
// Reading alone does not use all of a memory's bandwidth, nor does writing
// elsewhere: measured against either, AdamW would reach 140 %.
func (s *cpuSuite) probes(a *probe.Arena) [bounds]job {
	n := s.sizes.memory
	all := a.Floats(3 * n)
	return [bounds]job{
		s.multiplyAdds(kernel.ActiveISA()),
		s.multiplyAddsBF16(),
		{bound: reads, name: "memory-read", work: traffic(3 * n), run: func(p *kernel.Pool) { kernel.Sum(p, all) }},
		{bound: streams, name: "memory-triad", work: traffic(3 * n), run: func(p *kernel.Pool) { kernel.Triad(p, all[:n], all[n:2*n], all[2*n:], 0.5) }},
		{bound: updates, name: "memory-update", work: traffic(6 * n), run: func(p *kernel.Pool) { kernel.Scale(p, all, all, -1) }},
	}
}

// multiplyAdds is the probe of an instruction set this processor has.
func (s *cpuSuite) multiplyAdds(isa kernel.ISA) job {
	run := func(p *kernel.Pool) float64 {
		flops, _, _ := kernel.MulAdds(p, isa, s.sizes.rounds, 0.5, 1)
		return flops
	}
	return job{bound: operations, name: "fma-fp32-" + string(isa), work: run(s.pools[0]), run: func(p *kernel.Pool) { run(p) }}
}

// multiplyAddsBF16 is the probe of instructions for bf16. Without them it does
// nothing, and no job names its limit.
func (s *cpuSuite) multiplyAddsBF16() job {
	run := func(p *kernel.Pool) float64 {
		flops, _, _ := kernel.MulAddsBF16(p, s.sizes.rounds, 0.5, 1)
		return flops
	}
	return job{bound: operationsBF16, name: "fma-bf16", work: run(s.pools[0]), run: func(p *kernel.Pool) { run(p) }}
}

// peak is what the fastest repetition of a probe reaches, by pool.
func (s *cpuSuite) peak(probe job) ([]float64, error) {
	var peaks []float64
	for _, p := range s.pools {
		times, err := s.times(probe, p)
		if err != nil {
			return nil, err
		}
		peaks = append(peaks, probe.rate(slices.Min(times)))
	}
	return peaks, nil
}

// measureLimits measures and reports all limits, and for comparison the peaks of
// the instruction sets that are less good than the one in use.
func (s *cpuSuite) measureLimits(a *probe.Arena) error {
	s.limits = s.probes(a)
	for b, probe := range s.limits {
		if probe.work == 0 {
			continue
		}
		peaks, err := s.peak(probe)
		if err != nil {
			return err
		}
		s.peaks[b] = peaks
		if err := s.report(probe, peaks, peaks, nil); err != nil {
			return err
		}
	}
	isas := kernel.ISAs()
	for _, isa := range isas[slices.Index(isas, kernel.ActiveISA())+1:] {
		probe := s.multiplyAdds(isa)
		peaks, err := s.peak(probe)
		if err != nil {
			return err
		}
		if err := s.report(probe, peaks, s.peaks[operations], nil); err != nil {
			return err
		}
	}
	return nil
}
