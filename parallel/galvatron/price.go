package galvatron

import (
	"fmt"
	"math"
)

// model prices layers, embedding and head by the formulas of version 3.0.
type model struct {
	*Arguments
	*Profile
}

// bytesOf is the width of activations.
func (m *model) bytesOf() float64 {
	if m.mixed() {
		return 2
	}
	return 4
}

// known says that the profile has what the strategy needs.
func (m *model) known(s Strategy) bool {
	_, activation := m.activation[s.Width()]
	_, reduce := m.allReduce[m.reduceKey(s)]
	_, send := m.send[s.PP]
	_, gather := m.gather[s.TP]
	_, exchange := m.exchange[s.SP]
	return activation && reduce && (send || s.PP == 1) && (gather || s.TP == 1) && (exchange || s.SP == 1)
}

// knownVocab says the same of embedding and head.
func (m *model) knownVocab(s Strategy) bool {
	_, reduce := m.allReduce[m.reduceKey(s)]
	_, gather := m.gather[s.TP]
	for _, v := range m.vocabMemories(s.PP) {
		_, states := v.States[s.TP]
		_, activation := v.Activation[s.Width()]
		if !states || !activation {
			return false
		}
	}
	return reduce && (gather || s.TP == 1)
}

// vocabMemories is the profile of embedding and head, of one or two stages.
func (m *model) vocabMemories(pp int) []vocabMemory {
	if pp == 1 {
		return []vocabMemory{m.whole}
	}
	return []vocabMemory{m.first, m.last}
}

// reduceKey names the all-reduce of a strategy's gradients.
func (m *model) reduceKey(s Strategy) string {
	if s.TP > 1 {
		return fmt.Sprintf("%d_0", s.Shards())
	}
	return fmt.Sprintf("%d_1", s.Shards())
}

// layerTime is the time of one micro-batch in one layer, without and with the
// reduction of gradients.
func (m *model) layerTime(s Strategy, batch, chunks int) (plain, synced float64) {
	local := float64(batch / chunks / s.DP)
	forward := m.forward.at(local / float64(s.Width()))
	backward := 2 * forward
	if s.Checkpoint {
		backward += forward
	}
	ranks := float64(s.Shards())
	reduce := 2 * (ranks - 1) * (m.parameters / float64(s.TP) / ranks) // MB
	if m.mixed() {
		reduce /= 2
	}
	pace := m.allReduce[m.reduceKey(s)]
	fixed := m.layerCollectives(s, local)
	if s.Kind == ZeRO3 {
		fixed += 0.5 * reduce * pace
	}
	if s.PP > 1 {
		mb := float64(s.PP) * 2 * local * float64(m.Seq) * float64(m.Hidden) * 4 / 1024 / 1024
		if m.mixed() {
			mb /= 2
		}
		fixed += mb * m.send[s.PP] / float64(m.Layers)
	}
	time := func(mb float64) float64 {
		t := backward
		if s.DP > 1 {
			t = m.overlapped(mb, pace, backward)
		}
		return (forward + t + fixed) * 0.001 * m.Scale
	}
	return time(0), time(reduce)
}

// layerCollectives is the ms of a layer's all-gathers or all-to-alls.
func (m *model) layerCollectives(s Strategy, local float64) float64 {
	if s.Width() == 1 {
		return 0
	}
	count, of := 6.0, m.gather[s.TP]
	if s.TP == 1 {
		count, of = 4, m.exchange[s.SP]
	}
	if s.Checkpoint {
		count *= 1.5
	}
	return count * of.at(m.hiddenMB(local))
}

// hiddenMB is the size of the activations of samples.
func (m *model) hiddenMB(local float64) float64 {
	return local * float64(m.Seq) * float64(m.Hidden) * m.bytesOf() / 1024 / 1024
}

// overlapped is the ms of a backward pass and a reduction beside it: while both
// run both are slower.
func (m *model) overlapped(mb, pace, backward float64) float64 {
	reduce, compute := mb*pace*m.overlap, backward*m.overlap
	if reduce > compute {
		return compute + (mb-compute/(pace*m.overlap))*pace
	}
	return reduce + (backward - reduce/m.overlap)
}

// ratio is the share of model states that stay on a rank.
func (m *model) ratio(s Strategy, chunks int) float64 {
	share := 1/float64(s.Shards()) + 0.003
	mixed, sync := m.mixed(), chunks > 1 && !m.AsyncReduce
	async := chunks > 1 && m.AsyncReduce
	switch {
	case s.Kind == ZeRO2 && mixed && async:
		return 6./8*share + 2./8
	case s.Kind == ZeRO2 && async:
		return 2./4*share + 2./4
	case s.Kind == ZeRO2 && mixed && sync:
		return (7./8*share + 1./8) * 5 / 4
	case s.Kind == ZeRO2 && mixed:
		return 7./8*share + 1./8
	case s.Kind == ZeRO2:
		return 3./4*share + 1./4
	case s.Kind == ZeRO3 && mixed && async:
		return 7./8*share + 1./8
	case s.Kind == ZeRO3 && async:
		return 3./4*share + 1./4
	case s.Kind == ZeRO3 && sync:
		return share * 5 / 4
	case s.Kind == ZeRO3:
		return share
	}
	return 1
}

// inFlight is how many micro-batches a stage holds.
func (m *model) inFlight(pp, chunks, stage int) float64 {
	switch {
	case pp == 1:
		return 1
	case m.Schedule == GPipe:
		return float64(chunks)
	}
	return float64(pp - stage)
}

// layerMemory is the MB of one layer on a stage, rounded up.
func (m *model) layerMemory(s Strategy, batch, chunks, stage int) int {
	states := 4 * (m.parameters / float64(s.TP)) * m.ratio(s, chunks)
	samples := m.inFlight(s.PP, chunks, stage) * float64(batch/chunks/s.DP)
	activation := m.activation[s.Width()] * samples
	if s.Checkpoint {
		activation = m.checkpoint * samples
		if s.SP > 1 || (s.TP > 1 && m.SequenceParallel) {
			activation /= float64(s.Width())
		}
	}
	return int(math.Ceil(states + activation))
}

// contextMB is what the runtime takes of every device.
const contextMB = 1024

// vocabOf prices embedding and head: the time of a micro-batch and the MB of
// each stage, with what every stage holds besides layers.
func (m *model) vocabOf(s Strategy, batch, chunks, buffer int) Vocab {
	v := Vocab{Name: s.String(), Strategy: s, Time: make([]float64, s.PP), Memory: make([]int, s.PP)}
	local := float64(batch / chunks / s.DP)
	forward := m.vocab.at(local / float64(s.Width()) / float64(s.CP))
	gathers := 0.0
	if s.TP > 1 {
		gathers = m.gather[s.TP].at(m.hiddenMB(local))
	}
	if s.PP == 1 {
		gathers *= 2
	} else {
		forward /= 2
	}
	mb := make([]float64, s.PP)
	for i, memory := range m.vocabMemories(s.PP) {
		stage := i * (s.PP - 1)
		v.Time[stage] = 0.001 * (m.vocabTime(s, memory, forward) + gathers)
		held := 1.0
		if s.PP > 1 && (m.Schedule == GPipe || i == 0) {
			held = m.inFlight(s.PP, chunks, 0)
		}
		mb[stage] = memory.States[s.TP]*m.ratio(s, chunks) + memory.Activation[s.Width()]*held*local
	}
	for i := range mb {
		v.Memory[i] = int(math.Ceil(mb[i]+contextMB)) + buffer
	}
	return v
}

// vocabTime is the ms of embedding and head on one stage without the reduction
// of gradients, but for gathers of activations.
func (m *model) vocabTime(s Strategy, memory vocabMemory, forward float64) float64 {
	mb := memory.States[s.TP] / 4
	if m.mixed() {
		mb /= 2
	}
	ranks := float64(s.Shards())
	reduce := mb * (m.allReduce[m.reduceKey(s)] * (ranks - 1) / ranks)
	if s.Kind != ZeRO3 {
		reduce = 0
	}
	beside := func(comm, compute float64) float64 {
		if slowed := compute * m.overlap; slowed > comm {
			return comm + (slowed-comm)/m.overlap
		}
		return comm
	}
	return beside(0.5*reduce, forward) + beside(0.5*reduce, 2*forward)
}

// bufferMB is the gather buffer of sequence parallelism of a width: for micro-batches
// of half precision whatever the precision is, as in the engine.
func (m *model) bufferMB(batch, chunks, pp, width int) int {
	if !m.SequenceParallel || !m.GlobalBuffer {
		return 0
	}
	replicas := m.World() / pp / width
	return int(float64(batch) / float64(chunks) / float64(replicas) * float64(m.Hidden) * float64(m.Seq) * 4 / 1024 / 1024 / 2)
}
