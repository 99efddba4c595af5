package comm

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// arena is memory of one rank that the ranks of its host map too: collectives over
// tensors that lie there run in place, each member on its part of all tensors. It
// is a hole of arenaBytes of which pages are had as Alloc gives them out.
type arena struct {
	memory []byte   // this rank's
	peers  [][]byte // by rank, this one's included; nil where there is no link
	fd     int

	using sync.RWMutex // held for reading by those who use memory and peers

	mu    sync.Mutex
	used  int
	cells int // handed out
}

// openArena makes the arena of a rank.
func openArena(path string, rank, ranks int) (*arena, error) {
	fd, err := createHole(path, arenaBytes)
	if err != nil {
		return nil, err
	}
	a := &arena{fd: fd, used: arenaBegin, peers: make([][]byte, ranks)}
	if err := reserveSegment(fd, 0, int64(a.used)); err != nil {
		closeSegment(fd)
		return nil, err
	}
	if a.memory, err = mapSegment(path, 0, arenaBytes); err != nil {
		closeSegment(fd)
		return nil, err
	}
	a.peers[rank] = a.memory
	return a, nil
}

// close unmaps the arena once nobody uses it.
func (a *arena) close() {
	a.using.Lock()
	defer a.using.Unlock()
	if a.memory == nil {
		return
	}
	for _, m := range a.peers { // this rank's included
		if m != nil {
			unmapSegment(m)
		}
	}
	a.memory, a.peers = nil, nil
	closeSegment(a.fd)
}

const (
	arenaBytes = 16 << 30 // of addresses
	arenaCells = 256      // groups that may use it
	arenaBegin = arenaCells * int(unsafe.Sizeof(arenaCell{}))
	// arenaLeast is the size in bytes from which tensors are worth the two meetings
	// of a collective in place.
	arenaLeast = 16 << 10
)

// arenaCell is where a member of a group says what it is at, in its own arena. All
// ranks map it.
type arenaCell struct {
	group  atomic.Uint32 // id + 1; 0 where there is no group
	_      [60]byte
	at     atomic.Uint32 // meetings this member has come to
	asleep atomic.Uint32 // it wants a bell when another comes
	_      [56]byte
	op     atomic.Uint32
	count  atomic.Uint64 // elements
	offset atomic.Uint64 // of the tensor in the member's arena; 0 if it is elsewhere
	_      [40]byte
}

// cell is cell i of a rank's arena.
func (a *arena) cell(rank, i int) *arenaCell {
	return (*arenaCell)(unsafe.Pointer(&a.peers[rank][i*int(unsafe.Sizeof(arenaCell{}))]))
}

// alloc returns n zeroed elements of shared memory, or an error where there is not
// enough of it.
func (a *arena) alloc(n int) ([]float32, error) {
	const page = 4096
	bytes := (4*n + page - 1) / page * page
	a.using.RLock()
	defer a.using.RUnlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if n < 1 || bytes > len(a.memory)-a.used {
		return nil, fmt.Errorf("comm: %d bytes of shared memory: %d of %d are left", bytes, len(a.memory)-a.used, len(a.memory))
	}
	if err := reserveSegment(a.fd, int64(a.used), int64(bytes)); err != nil {
		return nil, fmt.Errorf("comm: %d bytes of shared memory: %w", bytes, err)
	}
	x := rawFloats(a.memory[a.used:][:4*n])
	a.used += bytes
	return x, nil
}

// offset is where x lies in this rank's arena, 0 if elsewhere.
func (a *arena) offset(x []float32) uint64 {
	if len(x) == 0 {
		return 0
	}
	from := uintptr(unsafe.Pointer(&a.memory[0]))
	at := uintptr(unsafe.Pointer(&x[0]))
	if at < from || at >= from+uintptr(len(a.memory)) {
		return 0
	}
	return uint64(at - from)
}

// Alloc returns n zeroed elements for tensors that t's ranks exchange: where they
// share memory, of that memory, in which collectives need no copies. It is freed
// when t is closed: nothing may use it then.
func Alloc(t Transport, n int) []float32 {
	if a := arenaOf(t); a != nil {
		if x, err := a.alloc(n); err == nil {
			return x
		}
	}
	return make([]float32, n)
}

// Shares reports whether t's ranks share memory with others.
func Shares(t Transport) bool { return arenaOf(t) != nil }

// arenaOf is t's arena, nil if it has none.
func arenaOf(t Transport) *arena {
	if n, ok := innermost(t).(*natsTransport); ok {
		return n.arena
	}
	return nil
}

// arenaGroup runs a group's collectives in place.
type arenaGroup struct {
	arena *arena
	hub   *shmHub
	id    uint32
	ranks []int
	me    int
	cells []*arenaCell // by member; nil until found
	wake  waiter
	awake chan struct{}
	block []float32 // sums of more than two members
}

// newArenaGroup returns nil where not all members share memory.
func newArenaGroup(t Transport, id uint32, ranks []int, me int) *arenaGroup {
	n, ok := innermost(t).(*natsTransport)
	if !ok || n.arena == nil || len(ranks) == 1 || slices.ContainsFunc(ranks, func(r int) bool { return r != n.rank && n.routes.Plane[n.rank][r] != SHM }) {
		return nil
	}
	a := n.arena
	a.using.RLock()
	defer a.using.RUnlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.memory == nil || a.cells == arenaCells {
		return nil // and so for the other members, which look for the cell
	}
	g := &arenaGroup{
		arena: a, hub: n.hub, id: id, ranks: ranks, me: me, cells: make([]*arenaCell, len(ranks)),
		wake: waiter{life: n.life, timeout: n.timeout}, awake: make(chan struct{}, 1),
	}
	g.cells[me] = a.cell(n.rank, a.cells)
	g.cells[me].group.Store(id + 1)
	a.cells++
	n.hub.addGroup(g)
	return g
}

// try runs a collective in place if all members have their tensors in their
// arenas: whole is all of x, out what this member gets of it where that is
// elsewhere. All members call it for the same collectives, and all of them do it
// or none.
func (g *arenaGroup) try(ctx context.Context, tag Tag, whole, out []float32) (bool, error) {
	g.arena.using.RLock()
	defer g.arena.using.RUnlock()
	if g.arena.memory == nil {
		return false, ErrClosed
	}
	done, err := g.run(ctx, tag, whole, out)
	if err != nil {
		g.hub.t.abort(err)
	}
	return done, err
}

func (g *arenaGroup) run(ctx context.Context, tag Tag, whole, out []float32) (bool, error) {
	own := g.cells[g.me]
	own.op.Store(uint32(tag.Op))
	own.count.Store(uint64(len(whole)))
	own.offset.Store(g.arena.offset(whole))
	if ok, err := g.meet(ctx, tag); !ok || err != nil {
		return false, err
	}
	all := make([][]float32, 0, 8)
	for i, c := range g.cells {
		from := c.offset.Load()
		if from == 0 || c.op.Load() != uint32(tag.Op) || c.count.Load() != uint64(len(whole)) {
			return false, nil
		}
		x, ok := tensorAt(g.arena.peers[g.ranks[i]], from, len(whole))
		if !ok {
			return false, &CorruptError{Kind: BadHeader, Rank: g.ranks[g.me], Peer: g.ranks[i], Tag: tag, Detail: "a tensor outside of its arena"}
		}
		all = append(all, x)
	}
	switch tag.Op {
	case OpAllReduce:
		lo, hi := Shard(len(whole), len(all), g.me)
		g.sum(all, lo, hi, nil)
	case OpReduceScatter:
		lo, hi := Shard(len(whole), len(all), g.me)
		g.sum(all, lo, hi, out)
	case OpAllGather:
		for d := 1; d < len(all); d++ {
			i := (g.me + d) % len(all)
			lo, hi := Shard(len(whole), len(all), i)
			copy(whole[lo:hi], all[i][lo:hi])
		}
	}
	// Nobody goes on before all have read and written.
	ok, err := g.meet(ctx, tag)
	if err == nil && !ok {
		err = errors.New("comm: a member began another collective before the end of this")
	}
	return true, err
}

// tensorAt is the tensor of n elements at a byte of an arena where its owner says that
// it is; ok is false where there can be none.
func tensorAt(memory []byte, from uint64, n int) (x []float32, ok bool) {
	if from < uint64(arenaBegin) || from%4 != 0 || from > uint64(len(memory)) || uint64(n) > (uint64(len(memory))-from)/4 {
		return nil, false
	}
	return rawFloats(memory[from:][:4*n]), true
}

// arenaBlock is how many elements are summed at a time: they stay in cache while
// the members' tensors are added and written.
const arenaBlock = 4 << 10

// sum adds up elements lo to hi of all members, in their order, as Group.sum does,
// and writes them to out, or to all members if out is nil.
func (g *arenaGroup) sum(all [][]float32, lo, hi int, out []float32) {
	if g.block == nil {
		g.block = make([]float32, arenaBlock)
	}
	for at := lo; at < hi; at += arenaBlock {
		end := min(at+arenaBlock, hi)
		block := g.block[:end-at]
		copy(block, all[0][at:end])
		for _, x := range all[1:] {
			addFloats(block, x[at:end])
		}
		if out != nil {
			copy(out[at-lo:], block)
			continue
		}
		for _, x := range all {
			copy(x[at:end], block)
		}
	}
}

// meet returns when all members have come as often as this one. It returns false
// if a member sends frames to the group instead: it takes this call for one that
// does not meet, and there the difference is found.
func (g *arenaGroup) meet(ctx context.Context, tag Tag) (bool, error) {
	at := g.cells[g.me].at.Add(1)
	for i := range g.cells {
		if c := g.find(i); i != g.me && c != nil && c.asleep.Load() != 0 && c.asleep.CompareAndSwap(1, 0) {
			g.hub.ring(g.ranks[i])
		}
	}
	for i := range g.cells {
		if ok, err := g.await(ctx, tag, i, at); !ok || err != nil {
			return ok, err
		}
	}
	return true, nil
}

// find looks for the cell of a member, which may not have made its group yet.
func (g *arenaGroup) find(i int) *arenaCell {
	for k := 0; g.cells[i] == nil && k < arenaCells; k++ {
		if c := g.arena.cell(g.ranks[i], k); c.group.Load() == g.id+1 {
			g.cells[i] = c
		}
	}
	return g.cells[i]
}

// here reports whether member i has come.
func (g *arenaGroup) here(i int, at uint32) bool {
	c := g.find(i)
	return c != nil && int32(c.at.Load()-at) >= 0
}

// await waits for member i.
func (g *arenaGroup) await(ctx context.Context, tag Tag, i int, at uint32) (bool, error) {
	start := time.Now()
	own := g.cells[g.me]
	for !g.spin(i, at) {
		own.asleep.Store(1)
		g.hub.tryDrowse()
		if g.here(i, at) {
			own.asleep.Store(0)
			return true, nil
		}
		// One that all members have met may be ahead by now.
		if g.hub.astray(tag.Edge, g.ranks) && !g.here(i, at) {
			return false, nil
		}
		g.wake.record.begin("meet", g.ranks[i], tag, start)
		_, err := g.wake.race(ctx, g.awake, nil, nil)
		g.wake.record.end()
		if err != nil {
			return false, explain(err, "meet", g.ranks[g.me], g.ranks[i], tag, start)
		}
	}
	return true, nil
}

// spin looks for member i for a while.
func (g *arenaGroup) spin(i int, at uint32) bool {
	start := time.Now()
	for n := 1; ; n++ {
		if g.here(i, at) {
			return true
		}
		if n%16 == 0 {
			if time.Since(start) >= g.hub.spins {
				return false
			}
			runtime.Gosched()
		}
	}
}
