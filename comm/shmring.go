package comm

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// shmRing passes frames from one process to another through shared memory, one
// writer and one reader at a time. Its control words come first, each in a cache
// line of its own, then the data: a power of two of bytes, in which each frame
// lies in one piece, so that it can be used where it is. Each side keeps its own
// position to itself: the peer can write to all of the memory, and must not be able
// to move it.
type shmRing struct {
	head     *atomic.Uint64 // bytes ever written
	tail     *atomic.Uint64 // bytes ever taken out
	sleeping *atomic.Uint32 // the reader wants a bell for the next frame
	waiting  *atomic.Uint32 // the writer wants a bell for room
	closed   *atomic.Uint32 // the writer has said bye
	data     []byte

	written uint64 // head, as this process knows it if it writes
	taken   uint64 // tail, as this process knows it if it reads
}

const (
	shmControl  = 4096 // bytes before the data
	shmLine     = 64
	shmPreamble = 2 * shmLine // of an entry: its length in the first line, the frame's header in the second
	shmSkip     = 1<<32 - 1   // in place of a length: go on at the start of the data
)

// ringOver lays a ring over memory that is zero at first.
func ringOver(memory []byte) *shmRing {
	line := func(i int) unsafe.Pointer { return unsafe.Pointer(&memory[i*shmLine]) }
	return &shmRing{
		head: (*atomic.Uint64)(line(0)), tail: (*atomic.Uint64)(line(2)),
		sleeping: (*atomic.Uint32)(line(4)), waiting: (*atomic.Uint32)(line(6)), closed: (*atomic.Uint32)(line(8)),
		data: memory[shmControl:],
	}
}

// shmEntry is what n bytes of payload take in a ring.
func shmEntry(n int) int { return shmPreamble + (n+shmLine-1)/shmLine*shmLine }

// put writes a frame, and reports false if there is no room: there never is for a
// reader that claims to have taken more than was written.
func (r *shmRing) put(h *header, payload []byte) bool {
	size := shmEntry(len(payload))
	at := int(r.written) & (len(r.data) - 1)
	skip := 0
	if rest := len(r.data) - at; rest < size {
		skip = rest
	}
	if used := r.written - r.tail.Load(); used > uint64(len(r.data)) || len(r.data)-int(used) < skip+size {
		return false
	}
	if skip > 0 {
		binary.LittleEndian.PutUint32(r.data[at:], shmSkip)
		at = 0
	}
	entry := r.data[at:][:size]
	binary.LittleEndian.PutUint32(entry, uint32(len(payload)))
	h.put(entry[shmLine:])
	copy(entry[shmPreamble:], payload)
	r.written += uint64(skip + size)
	r.head.Store(r.written)
	return true
}

// peek returns the oldest frame, which stays where it is until it is taken out by
// take(size). ok is false if there is none.
func (r *shmRing) peek() (h header, payload []byte, size int, ok bool, err error) {
	used := r.head.Load() - r.taken
	if used == 0 {
		return h, nil, 0, false, nil
	}
	if used%shmLine != 0 || used > uint64(len(r.data)) {
		return h, nil, 0, false, fmt.Errorf("%d bytes written in %d of shared memory", used, len(r.data))
	}
	at := int(r.taken) & (len(r.data) - 1)
	skip := 0
	n := binary.LittleEndian.Uint32(r.data[at:])
	if n == shmSkip {
		skip = len(r.data) - at
		at = 0
		n = binary.LittleEndian.Uint32(r.data)
	}
	size = shmEntry(int(n))
	if n > maxFrame || uint64(skip+size) > used || at+size > len(r.data) {
		return h, nil, 0, false, fmt.Errorf("frame of %d bytes in %d of shared memory", n, used)
	}
	entry := r.data[at:][:size]
	h, err = parseHeader(entry[shmLine:shmPreamble], int(n))
	return h, entry[shmPreamble:][:n], skip + size, err == nil, err
}

// take takes the oldest frame out.
func (r *shmRing) take(size int) {
	r.taken += uint64(size)
	r.tail.Store(r.taken)
}

// pending reports whether there is something for peek.
func (r *shmRing) pending() bool { return r.head.Load() != r.taken }

// roomy reports whether half the ring is free: a writer that waits is not woken for
// less.
func (r *shmRing) roomy() bool { return r.head.Load()-r.taken <= uint64(len(r.data)/2) }

// shmCapacity is the size in bytes of the data of a ring for frames of up to chunk
// bytes, among size ranks: enough to keep both sides busy, and little enough for
// all to stay in cache.
func shmCapacity(chunk, size int) int {
	capacity := 1 << 20
	for capacity < 4*shmEntry(chunk) || size <= 3 && capacity < 4<<20 {
		capacity *= 2
	}
	return capacity
}
