package simulate

// memory follows what a stage holds. It grows with the layers that a forward
// pass has reached and shrinks with those that a backward pass has left.
type memory struct {
	player   *player
	upTo     []int64 // activations of one micro-batch before each layer
	full     int64   // what a micro-batch keeps between its passes
	inflight int     // micro-batches between their passes, but for the one of the pass under way
	layers   int     // of the micro-batch whose pass is under way, that it holds
}

// newMemory is a stage's before its first pass.
func newMemory(p *player) memory {
	m := memory{player: p, upTo: []int64{0}}
	for _, l := range p.stage.Layers {
		m.upTo = append(m.upTo, m.upTo[len(m.upTo)-1]+l.Activation)
	}
	m.full = p.stage.Activation + m.upTo[len(p.stage.Layers)]
	m.hold(0)
	return m
}

// begin begins a forward or backward pass.
func (m *memory) begin(p Pass) {
	m.layers = 0
	if p == Backward {
		m.inflight--
		m.layers = len(m.player.stage.Layers)
	}
	m.hold(m.pass())
}

// enter goes on to a task of a layer.
func (m *memory) enter(layer int) {
	layers := m.player.stage.Layers
	if len(layers) == 0 {
		return
	}
	if m.player.pass == Forward {
		m.layers = max(m.layers, layer+1)
	} else {
		m.layers = min(m.layers, layer+1)
	}
	m.hold(m.pass() + layers[layer].Peak)
}

// end ends a forward or backward pass.
func (m *memory) end(p Pass) {
	if p == Forward {
		m.inflight++
		m.player.use.Inflight = max(m.player.use.Inflight, m.inflight)
	}
	m.hold(0)
}

// pass is what the micro-batch of the pass under way holds.
func (m *memory) pass() int64 { return m.player.stage.Activation + m.upTo[m.layers] }

// hold notes that the pass under way holds so many bytes.
func (m *memory) hold(pass int64) {
	p := m.player
	bytes := p.stage.States + int64(m.inflight)*m.full + pass
	if bytes > p.use.Memory {
		p.use.Memory, p.use.MemoryAt = bytes, p.engine.now
	}
	p.engine.noteMemory(p, bytes)
}
