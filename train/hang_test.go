package train

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/galvani-ml/galvani/comm"
)

// TestHangReport has the verdicts that there are.
func TestHangReport(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	answer := func(rank int, heard bool, w Whereabouts) comm.Answer {
		text, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		a := comm.Answer{Worker: comm.Worker{Rank: rank, Host: "h", PID: 40 + rank}, Heard: heard, Silent: 2100 * time.Millisecond, Now: now}
		if heard {
			a.Data = text
		}
		return a
	}
	waits := func(op string, peer int, tag comm.Tag, place *Place) Whereabouts {
		return Whereabouts{Doing: "training", Step: 7, Exchange: place,
			Waits: []comm.Wait{{Op: op, Peer: peer, Tag: tag, Since: now.Add(-1900 * time.Millisecond)}}}
	}
	send := comm.Tag{Edge: 1, Step: 6, Micro: 2, Name: "h.1.mlp.add recv"}
	sum := comm.Tag{Edge: comm.GroupEdges + 3, Step: 12, Micro: 4096, Op: comm.OpAllReduce, Name: "gradients from h.1 on"}
	cross := &Place{MicroBatch: 2, Layer: 2, Name: "h.1.mlp.add", Pass: "backward", Kind: "recv"}
	bucket := &Place{MicroBatch: 3, Layer: 2, Name: "gradients from h.1 on", Pass: "backward", Kind: "all-reduce"}
	computes := Whereabouts{Doing: "training", Step: 7, Computing: &Place{MicroBatch: 1, Layer: 3, Name: "h.2.attn", Pass: "forward", Kind: "attention"}}
	for name, c := range map[string]struct {
		answers []comm.Answer
		want    string
	}{
		"silent": {[]comm.Answer{answer(0, true, waits("recv", 1, send, cross)), answer(1, false, Whereabouts{})}, `why; after step 6 the workers are at:
rank 0: training, step 7: recv of layer 2 h.1.mlp.add (backward), micro-batch 2; waits 1.9s for rank 1, recv of tensor "h.1.mlp.add recv" edge 1 step 6 micro-batch 2
rank 1: does not answer, no heartbeat for 2.1s (host h, pid 41)
rank 1 holds up the others: nobody hears from it`},
		"computes": {[]comm.Answer{answer(0, true, waits("meet", 1, sum, bucket)), answer(1, true, computes)}, `why; after step 6 the workers are at:
rank 0: training, step 7: all-reduce of layer 2 gradients from h.1 on (backward), micro-batch 3; waits 1.9s for rank 1, meet of all-reduce "gradients from h.1 on" group 3 call 12 elements 4096
rank 1: training, step 7: attention of layer 3 h.2.attn (forward), micro-batch 1
rank 1 holds up the others: it waits for nobody`},
		"cycle": {[]comm.Answer{answer(0, true, waits("recv", 1, send, nil)), answer(1, true, waits("recv", 0, send, nil))}, `why; after step 6 the workers are at:
rank 0: training, step 7; waits 1.9s for rank 1, recv of tensor "h.1.mlp.add recv" edge 1 step 6 micro-batch 2
rank 1: training, step 7; waits 1.9s for rank 0, recv of tensor "h.1.mlp.add recv" edge 1 step 6 micro-batch 2
all wait for each other: a frame was lost, or they run different programs`},
		"starting": {[]comm.Answer{answer(0, true, Whereabouts{}), answer(1, true, Whereabouts{Doing: "saving", Step: 6})}, `why; after step 6 the workers are at:
rank 0: is starting
rank 1: saving, step 6
no worker holds up another`},
	} {
		if got := newHangReport("why", 6, c.answers).String(); got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, c.want)
		}
	}
	was := []comm.Answer{answer(0, true, computes)}
	if unmoved(nil, was) || !unmoved(was, was) || unmoved(was, []comm.Answer{answer(0, true, Whereabouts{Doing: "saving", Step: 7})}) {
		t.Error("unmoved")
	}
}
