package bench

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestComm(t *testing.T) {
	var out bytes.Buffer
	o := CommOptions{Ranks: []int{2}, Bytes: []int{1 << 10, 1 << 18}, Rounds: 1, Turn: time.Millisecond, JSON: true}
	if err := Comm(t.Context(), o, &out); err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		var r Result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Suite != "comm" || r.Unit != "GB/s" || r.Value <= 0 || r.Exchange == nil || r.Exchange.Seconds <= 0 {
			t.Errorf("%s", line)
		}
		names = append(names, r.Name)
	}
	if len(names) != len(CommOps())*len(CommPlanes())*2 || !slices.Contains(names, "reduce-scatter-2r-256KiB-shm") {
		t.Errorf("%v", names)
	}
}

func TestCommRefuses(t *testing.T) {
	for name, o := range map[string]CommOptions{
		"op": {Ops: []string{"shout"}}, "plane": {Planes: []string{"air"}}, "ranks": {Ranks: []int{1}}, "bytes": {Bytes: []int{1}}, "rounds": {Rounds: -1},
	} {
		if err := Comm(t.Context(), o, &bytes.Buffer{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// figuresOfComm are made up.
func figuresOfComm() []Result {
	var all []Result
	for _, bytes := range []int{1 << 10, 64 << 20} {
		for i, plane := range CommPlanes() {
			seconds := float64(bytes+1000) / 1e9 / float64(i+1)
			theirs := map[string]float64{openMPI: 2 * seconds, gloo: 5e-4 + seconds}
			all = append(all, Result{
				Suite: "comm", Name: "x", Value: busBytes(opAllReduce, 2, bytes) / seconds / 1e9, Unit: "GB/s",
				Peers:    map[string]float64{openMPI: 2, gloo: theirs[gloo] / seconds},
				Exchange: &Exchange{Op: opAllReduce, Ranks: 2, Bytes: bytes, Plane: plane, Seconds: seconds, Theirs: theirs},
			})
		}
	}
	return all
}

func TestCommTable(t *testing.T) {
	var out bytes.Buffer
	if err := writeComm(&out, opAllReduce, 2, figuresOfComm()); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/comm.txt", out.String())
	checkPicture(t, "testdata/comm.svg", commChart(figuresOfComm(), "a machine"))
}
