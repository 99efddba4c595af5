package comm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The frame is a 64-byte little-endian header and the payload. NATS headers are
// not used: the client library parses them into maps.
//
//	0 u32 magic     12 u32 edge      32 u32 sequence of the tensor, or a count
//	4 u8  version   16 u32 epoch     36 u16 chunk   38 u16 chunks
//	5 u8  kind      20 u32 micro     40 u64 bytes of the tensor
//	6 u8  dtype     24 u64 step      48 u64 offset of the payload in it
//	7 u8  op                         56 u32 CRC-32C of the payload
//	8 u16 src  10 u16 dst            60 u32 CRC-32C of the 60 bytes before
const (
	headerSize = 64
	magic      = 0x56_4C_41_47 // "GALV"
	version    = 1
	maxChunks  = 1<<16 - 1
	maxRanks   = 1 << 16
	maxFrame   = 64 << 20 // bytes, the most that any NATS server takes
	maxMessage = 64 << 20 // bytes of what is no tensor
)

// kind says what a frame is.
type kind uint8

const (
	kindData   kind = 1 + iota // a chunk of a tensor
	kindCredit                 // seq frames of this edge may be sent again
	kindHello                  // src listens; seq 1 asks for a hello in return
	kindAbort                  // src failed; the payload says why
	kindBye                    // src has closed and sends no more
	kindMark                   // src has sent seq tensors on this edge
)

type header struct {
	kind          kind
	dtype         DType
	op            Op
	src, dst      uint16
	edge, epoch   uint32
	micro         uint32
	step          uint64
	seq           uint32
	chunk, chunks uint16
	total, offset uint64
	sum           uint32 // CRC-32C of the payload
}

func (h *header) tag() Tag { return Tag{Edge: h.edge, Step: h.step, Micro: h.micro, Op: h.op} }

// last reports whether the frame is the last of its tensor.
func (h *header) last() bool { return h.chunk+1 == h.chunks }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of b.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// put writes the header to b[:64].
func (h *header) put(b []byte) {
	_ = b[headerSize-1]
	le := binary.LittleEndian
	le.PutUint32(b, magic)
	b[4], b[5], b[6], b[7] = version, byte(h.kind), byte(h.dtype), byte(h.op)
	le.PutUint16(b[8:], h.src)
	le.PutUint16(b[10:], h.dst)
	le.PutUint32(b[12:], h.edge)
	le.PutUint32(b[16:], h.epoch)
	le.PutUint32(b[20:], h.micro)
	le.PutUint64(b[24:], h.step)
	le.PutUint32(b[32:], h.seq)
	le.PutUint16(b[36:], h.chunk)
	le.PutUint16(b[38:], h.chunks)
	le.PutUint64(b[40:], h.total)
	le.PutUint64(b[48:], h.offset)
	le.PutUint32(b[56:], h.sum)
	le.PutUint32(b[60:], checksum(b[:60]))
}

// parseFrame reads the header of a frame and returns the payload, a part of b.
// It checks everything but the payload's checksum, which the receiver of the
// tensor does.
func parseFrame(b []byte) (h header, payload []byte, err error) {
	if len(b) < headerSize {
		return h, nil, fmt.Errorf("frame of %d bytes is shorter than its header", len(b))
	}
	h, err = parseHeader(b[:headerSize], len(b)-headerSize)
	return h, b[headerSize:], err
}

// parseHeader reads and checks the header of a frame with n bytes of payload.
func parseHeader(b []byte, n int) (h header, err error) {
	le := binary.LittleEndian
	switch {
	case le.Uint32(b) != magic:
		return h, fmt.Errorf("magic number %#x is not a frame's", le.Uint32(b))
	case b[4] != version:
		return h, fmt.Errorf("frame version %d, this build speaks %d: run the same build on all ranks", b[4], version)
	case le.Uint32(b[60:]) != checksum(b[:60]):
		return h, errors.New("checksum of the header does not match")
	}
	h = header{
		kind: kind(b[5]), dtype: DType(b[6]), op: Op(b[7]),
		src: le.Uint16(b[8:]), dst: le.Uint16(b[10:]),
		edge: le.Uint32(b[12:]), epoch: le.Uint32(b[16:]), micro: le.Uint32(b[20:]), step: le.Uint64(b[24:]),
		seq: le.Uint32(b[32:]), chunk: le.Uint16(b[36:]), chunks: le.Uint16(b[38:]),
		total: le.Uint64(b[40:]), offset: le.Uint64(b[48:]), sum: le.Uint32(b[56:]),
	}
	return h, h.check(n)
}

// check tells whether the fields fit together and the n bytes of payload.
func (h *header) check(n int) error {
	if h.kind < kindData || h.kind > kindMark {
		return fmt.Errorf("unknown kind of frame %d", h.kind)
	}
	if h.kind != kindData {
		return nil
	}
	end := h.offset + uint64(n)
	switch {
	case h.chunk >= h.chunks:
		return fmt.Errorf("chunk %d of %d", h.chunk, h.chunks)
	case end < h.offset || end > h.total || h.last() != (end == h.total):
		return fmt.Errorf("chunk %d of %d covers bytes %d to %d of %d", h.chunk, h.chunks, h.offset, end, h.total)
	case h.total > uint64(h.chunks)*maxFrame:
		return fmt.Errorf("%d bytes in %d chunks", h.total, h.chunks)
	case h.dtype == Float32 && (n%4 != 0 || h.offset%4 != 0):
		return fmt.Errorf("chunk %d of %d has %d bytes at %d, which are no whole elements", h.chunk, h.chunks, n, h.offset)
	}
	return nil
}
