package comm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// FuzzInbox gives a receiver frames that any peer may have made, with whole
// checksums, and takes out what it accepts.
func FuzzInbox(f *testing.F) {
	add := func(headers ...header) {
		var all []byte
		for _, h := range headers {
			payload := []byte("abcdabcd")
			h.sum = checksum(payload)
			all = append(all, encode(h, payload)...)
		}
		f.Add(all)
	}
	add(header{kind: kindData, dtype: Bytes, src: 1, chunks: 1, total: 8})
	add(header{kind: kindData, dtype: Bytes, src: 1, chunks: 2, total: 16}, header{kind: kindData, dtype: Bytes, src: 1, chunk: 1, chunks: 2, total: 16, offset: 8})
	add(header{kind: kindData, dtype: Bytes, src: 1, chunks: maxChunks, total: maxChunks * maxFrame})
	add(header{kind: kindData, dtype: Float32, src: 1, chunks: 2, total: 16}, header{kind: kindData, dtype: Float32, src: 1, chunk: 1, chunks: 2, total: 16, offset: 8})
	add(header{kind: kindCredit, src: 1, seq: 1 << 31}, header{kind: kindCredit, src: 1, edge: 7, seq: 1})
	over, stop := context.WithCancel(context.Background())
	stop()
	f.Fuzz(func(t *testing.T, stream []byte) {
		life, end := context.WithCancelCause(context.Background())
		defer end(nil)
		o := TransportOptions{}.withDefaults(2, MaxPayload)
		in := newInbox(life, func(err error) { end(err) }, 0, 2, o)
		in.credit = func(int, uint32, int) {}
		out := newOutbox(life, 0, 0, o, []wire{mute{}, mute{}})
		for ; len(stream) >= headerSize+8; stream = stream[headerSize+8:] {
			frame := append([]byte{}, stream[:headerSize+8]...)
			binary.LittleEndian.PutUint32(frame, magic)
			frame[4] = version
			binary.LittleEndian.PutUint32(frame[60:], checksum(frame[:60]))
			h, payload, err := parseFrame(frame)
			h.src %= 2
			switch {
			case err != nil:
			case h.kind == kindData:
				_ = in.deliver(chunk{header: h, data: payload})
			case h.kind == kindCredit:
				if out.grant(int(h.src), h.edge, int(h.seq)) == nil {
					t.Fatal("took credits for what was not sent")
				}
			case h.kind == kindBye:
				in.leave(int(h.src))
			}
		}
		for k, e := range in.edges {
			if e.queue.len() == 0 || k.peer != 1 {
				continue
			}
			first := e.queue.ring[e.queue.head]
			if first.dtype == Bytes {
				_, _ = in.RecvBytes(over, k.peer, first.tag())
			} else if first.total < 1<<20 {
				_ = in.RecvAdd(over, k.peer, first.tag(), make([]float32, first.total/4))
			}
		}
	})
}

// FuzzControl gives a coordinator and a worker control messages that anyone on
// their subjects may have made.
func FuzzControl(f *testing.F) {
	for _, v := range []any{
		joinRequest{"abc", Worker{Rank: AnyRank, Host: "h", PID: 1, Version: "v"}}, joinRequest{"a.b", Worker{}},
		joinRequest{"*", Worker{}}, joinRequest{"x\r\nPUB y 0\r\n", Worker{}}, joinRequest{"", Worker{Rank: -7}},
		joinReply{Rank: 1, Size: 2, Leases: Leases{}.withDefaults()}, joinReply{Size: 1 << 40, Leases: Leases{1, 1}}, joinReply{Error: "no"},
		joinReply{Size: 1, Leases: Leases{1 << 62, 1 << 62}}, failure{Rank: 1 << 40, Reason: "x"}, failure{Rank: -1, Reason: "it has closed the job"}, nil, 7,
	} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "gt.job.1.evt.1.error")
		f.Add(append(binary.LittleEndian.AppendUint64(nil, 1), b...), "gt.job.1.evt.0.step")
	}
	f.Fuzz(func(t *testing.T, data []byte, subject string) {
		c := &Coordinator{opt: CoordinatorOptions{Job: Job{"job", 1}, Workers: 3, Version: "v"}, members: make([]*memberState, 3), all: make(chan struct{})}
		c.members[0] = &memberState{id: "zero"}
		c.joined = 1
		if req, err := decodeJoin(data); err == nil {
			if strings.ContainsAny(req.ID, ".*> \t\r\n") || req.ID == "" {
				t.Fatalf("accepted ID %q", req.ID)
			}
			if rank, err := c.admit(req); err == nil && c.members[rank].id != req.ID {
				t.Fatalf("rank %d is not %q's", rank, req.ID)
			}
		}
		if r, err := decodeReply(data); err == nil && (r.Rank >= r.Size || 2*r.Leases.Beat <= 0) {
			t.Fatalf("accepted %+v", r)
		}
		if x := decodeFailure(data, 1); x.Rank < -1 || x.Rank >= maxRanks || len(x.Reason) > maxText {
			t.Fatalf("accepted %+v", x)
		}
		c.onBeat(&nats.Msg{Subject: subject, Data: data})
		ev, err := c.event(&nats.Msg{Subject: subject, Data: data})
		if peer := (*PeerError)(nil); err == nil && (ev.Rank < 0 || ev.Rank > 2) || errors.As(err, &peer) && peer.Rank >= maxRanks {
			t.Fatalf("%+v, %v", ev, err)
		}
	})
}

// fuzzTransport is rank 0 of two, without a server: what it sends gets lost.
func fuzzTransport(t *testing.T) *natsTransport {
	life, end := context.WithCancelCause(context.Background())
	t.Cleanup(func() { end(nil) })
	n := &natsTransport{met: make(chan struct{}), routes: newRoutes(2), end: end, tamper: func([]byte) [][]byte { return nil }}
	o := TransportOptions{}.withDefaults(2, MaxPayload)
	n.inbox = newInbox(life, n.abort, 0, 2, o)
	n.inbox.credit = func(int, uint32, int) {}
	n.out = newOutbox(life, 0, 0, o, []wire{mute{}, mute{}})
	n.subjects = make([]string, 2)
	return n
}

// FuzzTCP gives a connection bytes that a peer may have sent, while a receiver waits
// on one edge. Where whole is set, headers get their checksums.
func FuzzTCP(f *testing.F) {
	add := func(h header, n uint32, payload string) {
		head := make([]byte, headerSize)
		h.put(head)
		f.Add(append(append(binary.LittleEndian.AppendUint32(nil, n), head...), payload...), false)
	}
	add(header{kind: kindData, dtype: Float32, src: 1, edge: 7, chunks: 1, total: 16}, 16, "abcdabcdabcdabcd")
	add(header{kind: kindData, dtype: Bytes, src: 1, edge: 9, chunks: 2, total: 16}, 8, "abcdabcd")
	add(header{kind: kindData, dtype: Bytes, src: 1, chunks: 2, total: 1 << 26}, tcpPayload+1, "abcdabcd")
	add(header{kind: kindHello, src: 1, seq: 1}, 0, "")
	add(header{kind: kindCredit, src: 1, seq: 3}, 1<<32-1, "")
	add(header{kind: kindAbort, src: 1}, 3, "why")
	add(header{kind: kindBye, src: 1}, 0, "")
	f.Fuzz(func(t *testing.T, stream []byte, whole bool) {
		if whole {
			stream = wholeHeaders(slices.Clone(stream))
		}
		n := fuzzTransport(t)
		dst := make([]float32, 4)
		n.edge(1, 7).post = &post{tag: Tag{Edge: 7}, dtype: Float32, dst: rawBytes(dst)}
		l := &tcpLink{t: n, peer: 1, in: bufio.NewReaderSize(bytes.NewReader(stream), readAhead), due: make(chan struct{}, 1)}
		for bye := false; !bye; {
			var err error
			if bye, err = l.next(); err != nil {
				break
			}
		}
		if most := tcpPayload; cap(l.scratch) > most {
			t.Fatalf("took %d bytes for %d", cap(l.scratch), len(stream))
		}
	})
}

// wholeHeaders gives the frames of a connection what each header begins and ends with.
func wholeHeaders(stream []byte) []byte {
	for rest := stream; len(rest) >= 4+headerSize; {
		head := rest[4:][:headerSize]
		binary.LittleEndian.PutUint32(head, magic)
		head[4] = version
		binary.LittleEndian.PutUint32(head[60:], checksum(head[:60]))
		n := int(binary.LittleEndian.Uint32(rest))
		rest = rest[4+headerSize:]
		rest = rest[min(n, len(rest)):]
	}
	return stream
}

// FuzzShm has a peer write what it likes to all of the shared memory between two
// reads and writes.
func FuzzShm(f *testing.F) {
	frame := func(n int) []byte {
		r := ringOver(make([]byte, shmControl+1<<12))
		r.put(&header{kind: kindData, dtype: Bytes, src: 1, chunks: 1, total: uint64(n)}, make([]byte, n))
		return r.data[:shmEntry(n)]
	}
	at := func(offset uint16, bytes ...byte) []byte {
		return append(binary.LittleEndian.AppendUint16([]byte{byte(len(bytes))}, offset), bytes...)
	}
	f.Add(at(0, 192, 0), frame(64))
	f.Add(at(0, 64, 0), frame(64))
	f.Add(slices.Concat(at(0, 0, 16), at(shmControl, 255, 255, 255, 255)), []byte{})
	f.Add(slices.Concat(at(0, 192, 0), at(2*shmLine, 255, 255, 255, 255, 255, 255, 255, 255)), frame(64))
	f.Add(slices.Concat(at(0, 63, 0), at(2*shmLine, 63)), frame(1))
	f.Fuzz(func(t *testing.T, script, data []byte) {
		memory := make([]byte, shmControl+1<<12)
		in, out := ringOver(memory), ringOver(memory) // a peer that writes to the wrong ring, too
		copy(in.data, data)
		for len(script) >= 3 {
			n, offset := int(script[0]), int(binary.LittleEndian.Uint16(script[1:]))
			script = script[3:]
			n = min(n, len(script), max(0, len(memory)-offset))
			if n > 0 {
				copy(memory[offset:], script[:n])
			}
			script = script[n:]
			if _, payload, size, ok, err := in.peek(); err == nil && ok {
				if size > len(in.data) || len(payload) > size {
					t.Fatalf("%d bytes of %d", len(payload), size)
				}
				in.take(size)
			}
			_ = in.pending() && in.roomy()
			_ = out.put(&header{kind: kindData, dtype: Bytes, src: 1, chunks: 1, total: 9}, []byte("123456789"))
		}
	})
}

// FuzzArena shows that tensors that others say there are lie in the arena, behind its
// cells.
func FuzzArena(f *testing.F) {
	memory := make([]byte, arenaBegin+1<<10)
	f.Add(uint64(arenaBegin), 4)
	f.Add(uint64(arenaBegin)+1, 4)
	f.Add(uint64(1<<64-4), 4)
	f.Add(uint64(0), 1)
	f.Add(uint64(arenaBegin)+1<<10, 1<<62)
	f.Fuzz(func(t *testing.T, from uint64, n int) {
		if n < 0 {
			return // n is this rank's
		}
		if x, ok := tensorAt(memory, from, n); ok && (len(x) != n || from < uint64(arenaBegin) || from+uint64(4*n) > uint64(len(memory))) {
			t.Fatalf("%d elements at %d", n, from)
		}
	})
}

// FuzzRendezvous gives a rank what others may say when planes are agreed on.
func FuzzRendezvous(f *testing.F) {
	for _, v := range []any{
		greeting{"host", Auto, true}, greeting{strings.Repeat("x", maxText+1), "pigeon", false},
		attempt{Offer: []byte("{}")}, attempt{Links: []string{"", "no"}}, attempt{Fault: strings.Repeat("x", 2*maxText)},
		tcpOffer{[]string{"10.0.0.1"}, 4000, make([]byte, 32)}, tcpOffer{make([]string, maxAddresses+1), 1, make([]byte, 32)}, tcpOffer{nil, -1, nil},
		shmOffer{"/dev/shm/galvani-x", []int{0}, 1 << 20}, shmOffer{"/dev/shm/galvani-x/../y", []int{0}, 1 << 20},
		shmOffer{"/etc/galvani-x", nil, 1 << 62}, shmOffer{"/dev/shm/galvani-x", []int{0}, 1<<20 + 64}, nil, 7,
	} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if g, err := decodeGreeting(text); err == nil && len(g.Host)+len(g.Want) > 2*maxText {
			t.Fatalf("accepted %d bytes", len(g.Host)+len(g.Want))
		}
		if a, err := decodeAttempt(text); err == nil && (len(a.Links) > maxRanks || len(a.Fault) > maxText) {
			t.Fatalf("accepted %d links, %d bytes", len(a.Links), len(a.Fault))
		}
		if o, err := decodeTCPOffer(text); err == nil && (len(o.Hosts) > maxAddresses || o.Port < 1 || o.Port >= 1<<16) {
			t.Fatalf("accepted %+v", o)
		}
		if o, err := decodeShmOffer(text); err == nil {
			if dir := filepath.Clean(o.Dir); filepath.Dir(dir) != shmDir || dir != o.Dir || o.Capacity > maxCapacity {
				t.Fatalf("accepted %+v", o)
			}
		}
		n := fuzzTransport(t)
		m := &meeting{t: n, greetings: make([]greeting, 2)}
		if g, err := decodeGreeting(text); err == nil {
			m.greetings[0], m.greetings[1] = greeting{"host", g.Want, true}, g
			_ = m.know(g.Want)
		}
		if a, err := decodeAttempt(text); err == nil {
			_ = m.assign(TCP, false, [][]int{{1}, {0}}, make([]link, 2), []attempt{{Links: make([]string, 2)}, a})
			_ = n.routes.String()
		}
	})
}

// mute is a wire to nobody.
type mute struct{}

func (mute) write(*header, []byte) error { return nil }

// FuzzAnswer shows that an answer of a worker is read or refused.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{`{"rank":1,"now":"2026-01-02T03:04:05Z","data":{"step":3}}`, `{"rank":-1}`, `{"now":"x"}`, `null`, `[]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := decodeAnswer(text)
		if err != nil {
			return
		}
		if _, err := json.Marshal(r.Data); len(r.Data) > 0 && err != nil {
			t.Errorf("took data that is no JSON: %v", err)
		}
	})
}
