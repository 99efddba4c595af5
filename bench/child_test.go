package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

// TestServe plays whole conversations with a child.
func TestServe(t *testing.T) {
	constant := func(loss float64, err error) func(workload) (Runner, error) {
		return faking(func() (float64, error) { return loss, err })
	}
	for _, c := range []struct {
		name      string
		newRunner func(workload) (Runner, error)
		input     string
		replies   int
		fault     string // in the error, and in the last reply if it is one of the runner's
	}{
		{"steps", constant(1, nil), `{"batch":2,"seq":3} {"steps":2} {"steps":1}`, 3, ""},
		{"no workload", constant(1, nil), ``, 0, "reading the workload"},
		{"nonsense", constant(1, nil), `{} {"steps":"two"}`, 1, "reading a request"},
		{"profile", constant(1, nil), `{} {"steps":1,"profile":true}`, 2, "cannot tell where its time goes"},
		{"failing step", constant(1, errors.New("broken")), `{} {"steps":1}`, 2, "broken"},
		{"diverging", constant(math.NaN(), nil), `{} {"steps":1}`, 2, "the loss is NaN"},
		{"no runner", fakes["unable"], `{}`, 1, "no such hardware"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := serve(c.newRunner, strings.NewReader(c.input), &out)
			if (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got error %v, want %q", err, c.fault)
			}
			var replies []reply
			for in := json.NewDecoder(&out); in.More(); {
				var r reply
				if err := in.Decode(&r); err != nil {
					t.Fatal(err)
				}
				replies = append(replies, r)
			}
			if len(replies) != c.replies {
				t.Fatalf("%d replies, want %d", len(replies), c.replies)
			}
			if c.fault == "" && (len(replies[1].Seconds) != 2 || replies[2].Losses[0] != 1) {
				t.Errorf("replies %+v", replies)
			}
		})
	}
}
