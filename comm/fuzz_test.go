package comm

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
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

// mute is a wire to nobody.
type mute struct{}

func (mute) write(*header, []byte) error { return nil }
