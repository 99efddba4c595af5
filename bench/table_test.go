package bench

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestTable(t *testing.T) {
	r := Result{
		Suite: "train", Name: small.Name(), Value: 10240, Unit: "tokens/s", Peers: map[string]float64{theirs: 13.02},
		Training: &Training{
			Side: Side{10240, 225.5, 0.1, 0.09, 0.125, 1024, 100 << 20, 6.9315},
			Theirs: map[string]Side{
				theirs: {787.7, 17.35, 1.3, 1.22, 1.5, 632 << 20, 1500 << 20, 6.9316},
			},
			PeersMin: map[string]float64{theirs: 12.5}, PeersMax: map[string]float64{theirs: 13.5},
			MemoryOfPeers: map[string]float64{theirs: 0.0667},
			Rounds:        5, Steps: 1, Threads: 2,
		},
	}
	var got bytes.Buffer
	if err := writeTraining(&got, r); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/train.txt"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("the table differs from %s; if it should, run the test with -update:\n%s", golden, d)
	}
}
