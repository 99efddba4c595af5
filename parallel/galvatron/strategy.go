package galvatron

import (
	"fmt"
	"strings"
)

// DataParallel is how replicas share model states.
type DataParallel string

// The kinds of data parallelism.
const (
	DDP   DataParallel = "ddp"
	ZeRO2 DataParallel = "zero2"
	ZeRO3 DataParallel = "zero3"
)

// Strategy is how one layer runs: degrees of pipeline, tensor, sequence
// (Ulysses), context and data parallelism. TP and SP are never both above 1.
type Strategy struct {
	PP, TP, SP, CP, DP int
	Kind               DataParallel
	Checkpoint         bool
}

// Width is the degree by which one layer's activations are split: of TP or SP.
func (s Strategy) Width() int { return max(s.TP, s.SP) }

// Shards is among how many ranks ZeRO splits model states.
func (s Strategy) Shards() int { return s.DP * s.SP * s.CP }

// World is the number of devices.
func (s Strategy) World() int { return s.PP * s.TP * s.SP * s.CP * s.DP }

// String is the engine's name of the strategy, as 1-4*-2f-c: degrees of PP, of
// TP or SP, of DP; * marks the second where it is above 1, f is ZeRO-3, -c
// checkpointing, -sp Ulysses.
func (s Strategy) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d-%d", s.PP, s.Width())
	if s.Width() > 1 {
		b.WriteByte('*')
	}
	fmt.Fprintf(&b, "-%d", s.DP)
	if s.Kind == ZeRO3 {
		b.WriteByte('f')
	}
	if s.Checkpoint {
		b.WriteString("-c")
	}
	if s.SP > 1 {
		b.WriteString("-sp")
	}
	return b.String()
}

// vocab returns the strategy without what embedding and head do not have.
func (s Strategy) vocab() Strategy {
	s.Checkpoint = false
	return s
}

// Strategies lists the strategies of layers that the arguments allow: all
// pipeline degrees, in the engine's order.
func (a *Arguments) Strategies() []Strategy {
	var list []Strategy
	world := a.World()
	for pp := 1; pp <= min(world, a.Space.MaxPP, a.Layers); pp *= 2 {
		for tp := 1; tp <= world/pp; tp *= 2 {
			for sp := 1; sp <= world/pp; sp *= 2 {
				for cp := 1; cp <= world/pp; cp *= 2 {
					if (tp > 1 && sp > 1) || pp*tp*sp*cp > world {
						continue
					}
					list = a.kinds(list, Strategy{PP: pp, TP: tp, SP: sp, CP: cp, DP: world / pp / tp / sp / cp})
				}
			}
		}
	}
	return list
}

// kinds adds the strategies of the given degrees, if they are allowed.
func (a *Arguments) kinds(list []Strategy, s Strategy) []Strategy {
	x := a.Space
	switch {
	case s.TP > x.MaxTP, s.SP > x.MaxSP, s.CP > x.MaxCP,
		x.DisablePP && s.PP > 1, x.DisableTP && s.TP > 1, x.DisableSP && s.SP > 1, x.DisableCP && s.CP > 1, x.DisableDP && s.DP > 1:
		return list
	}
	kinds := []DataParallel{DDP}
	switch {
	case s.DP > 1 && a.DefaultKind == DDP:
		kinds = []DataParallel{DDP, ZeRO3}
	case s.DP > 1:
		kinds = []DataParallel{ZeRO2, ZeRO3}
	}
	for _, s.Kind = range kinds {
		if s.Kind == ZeRO3 && x.DisableZeRO3 {
			continue
		}
		for _, s.Checkpoint = range []bool{false, true} {
			if !s.Checkpoint || !x.DisableCheckpoint {
				list = append(list, s)
			}
		}
	}
	return list
}
