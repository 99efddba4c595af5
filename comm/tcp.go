package comm

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// tcpLink carries frames to one peer over a connection. A frame is its payload's
// length, header and payload, in one write; what goes to another host is sealed.
type tcpLink struct {
	t    *natsTransport
	peer int
	conn *net.TCPConn
	in   *bufio.Reader
	keys *sealing // nil between ranks of one host

	pulse   pulse
	ended   atomic.Bool // bye is the last that is sent
	writing sync.Mutex
	head    [4 + headerSize]byte
	parts   [2][]byte // of a write
	vector  net.Buffers
	sealed  []byte

	owing sync.Mutex // guards owed
	owed  []owed
	due   chan struct{} // fires when something is owed

	header  [4 + headerSize]byte // of what comes in
	scratch []byte               // payload that no receiver waits for, or that is to be added or opened
}

// owed are credits to hand back.
type owed struct {
	edge uint32
	n    int
}

// readAhead is the size of the buffer that takes headers and small frames.
const readAhead = 16 << 10

func newTCPLink(t *natsTransport, peer int, conn *net.TCPConn, keys *sealing) *tcpLink {
	return &tcpLink{t: t, peer: peer, conn: conn, in: bufio.NewReaderSize(conn, readAhead), keys: keys, due: make(chan struct{}, 1)}
}

// frames implements link: as large as collectives' blocks, since each frame wakes its
// reader, and so many that those, which hold themselves back, wait for no credits.
func (l *tcpLink) frames() (bytes, window int) { return tcpPayload, 16 }

// tcpPayload is the most bytes of payload that a frame takes.
const tcpPayload = 4 * blockSize

// write implements wire. The peer takes in all that comes, so it does not wait
// for long unless the peer hangs.
func (l *tcpLink) write(h *header, payload []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.ended.Load() {
		return cmp.Or(l.t.left(l.peer), ErrClosed)
	}
	l.ended.Store(h.kind == kindBye)
	return l.put(h, payload)
}

// put is write without its checks. The caller holds l.writing.
func (l *tcpLink) put(h *header, payload []byte) error {
	h.sum = 0 // sealing checks the payload
	if l.keys == nil {
		h.sum = fastsum(payload)
	}
	binary.LittleEndian.PutUint32(l.head[:], uint32(len(payload)))
	h.put(l.head[4:])
	var err error
	if l.keys != nil {
		l.sealed = l.keys.seal(append(l.sealed[:0], l.head[:]...), payload, l.head[:])
		_, err = l.conn.Write(l.sealed)
	} else {
		l.parts[0], l.parts[1] = l.head[:], payload
		l.vector = l.parts[:]
		_, err = l.vector.WriteTo(l.conn)
		l.parts[1] = nil
	}
	if err != nil {
		return l.t.lost(l.peer, fmt.Errorf("sending to it over TCP: %w", err))
	}
	return nil
}

// credit implements link.
func (l *tcpLink) credit(edge uint32, n int) {
	l.owing.Lock()
	defer l.owing.Unlock()
	l.owed = append(l.owed, owed{edge, n})
	notify(l.due)
}

// repay writes the credits that are owed until over is closed. A reader that wrote
// them itself could wait for a peer whose reader does the same.
func (l *tcpLink) repay(over <-chan struct{}) {
	var batch []owed
	for {
		select {
		case <-l.due:
		case <-over:
			return
		}
		l.owing.Lock()
		batch, l.owed = l.owed, batch[:0]
		l.owing.Unlock()
		for _, c := range batch {
			h := l.t.header(kindCredit, l.peer, c.edge, uint32(c.n))
			if err := l.write(&h, nil); err != nil {
				if l.t.left(l.peer) == nil && !l.ended.Load() {
					l.t.abort(err)
				}
				return
			}
		}
	}
}

// run implements link.
func (l *tcpLink) run() {
	over := make(chan struct{})
	var repaying sync.WaitGroup
	repaying.Go(func() { l.repay(over) })
	defer repaying.Wait()
	defer close(over)
	defer l.pulse.over.Store(true)
	for {
		bye, err := l.next()
		l.pulse.heard.Add(1)
		switch {
		case bye:
			l.pulse.over.Store(true)
			l.finish()
			l.drain()
			return
		case err == nil:
			continue
		case errors.Is(err, io.EOF) && l.ended.Load():
			return // the peer has answered our end by its own
		case errors.As(err, new(*CorruptError)):
		default:
			err = l.t.lost(l.peer, fmt.Errorf("its TCP connection broke: %w", err))
		}
		l.t.abort(err)
		return
	}
}

// drain waits for the end of the connection: closing it while something is on
// the way would reset it, and lose what the peer has not read yet.
func (l *tcpLink) drain() { _, _ = io.Copy(io.Discard, l.in) }

// next takes in one frame. bye says that it was the last.
func (l *tcpLink) next() (bye bool, err error) {
	if _, err := io.ReadFull(l.in, l.header[:]); err != nil {
		return false, err
	}
	n := int(binary.LittleEndian.Uint32(l.header[:]))
	h, err := parseHeader(l.header[4:], n)
	if err == nil && (n > tcpPayload || int(h.src) != l.peer) {
		err = fmt.Errorf("frame of %d bytes from rank %d", n, h.src)
	}
	if err != nil {
		return false, &CorruptError{Kind: BadHeader, Rank: l.t.rank, Peer: l.peer, Detail: err.Error() + " (TCP)"}
	}
	if err := l.t.inspect(&h); err != nil {
		return false, err
	}
	if h.kind != kindData {
		if _, err := l.receive(&h, nil, n); err != nil {
			return false, err
		}
		return h.kind == kindBye, l.t.sort(&h, nil)
	}
	dst := l.t.claim(&h, n)
	if dst != nil {
		defer l.t.filled(&h)
	}
	data, err := l.receive(&h, dst, n)
	if err != nil {
		return false, err
	}
	return false, l.t.deliver(chunk{header: h, data: data, placed: dst != nil, lent: dst == nil, intact: true})
}

// receive reads n bytes of payload into dst, or into memory of its own if dst is
// nil, and checks them.
func (l *tcpLink) receive(h *header, dst []byte, n int) ([]byte, error) {
	want := n
	if l.keys != nil {
		want += l.keys.overhead()
	}
	if cap(l.scratch) < want && (dst == nil || l.keys != nil) {
		l.scratch = make([]byte, want)
	}
	read := dst
	if dst == nil || l.keys != nil {
		read = l.scratch[:want]
	}
	if _, err := io.ReadFull(l.in, read); err != nil {
		return nil, err
	}
	if l.keys == nil {
		if fastsum(read) != h.sum {
			return nil, l.corrupt(h, n, errors.New("the checksum does not match"))
		}
		return read, nil
	}
	if dst == nil {
		dst = read
	}
	data, err := l.keys.open(dst[:0], read, l.header[:])
	if err != nil {
		return nil, l.corrupt(h, n, err)
	}
	return data, nil
}

func (l *tcpLink) corrupt(h *header, n int, err error) error {
	return &CorruptError{Kind: BadChecksum, Rank: l.t.rank, Peer: l.peer, Tag: h.tag(), Detail: fmt.Sprintf("%d bytes over TCP: %v", n, err)}
}

// finish implements link.
func (l *tcpLink) finish() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.ended.Store(true)
	_ = l.conn.CloseWrite() // fails only if the connection is gone
}

// close implements link.
func (l *tcpLink) close() { _ = l.conn.Close() } // nothing is expected of it any more
