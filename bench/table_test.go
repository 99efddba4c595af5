package bench

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// trained is a result with everything in it.
var trained = Result{
	Suite: "train", Name: smallStep.Name(), Value: 10240, Unit: "tokens/s", OfPeak: 0.451,
	Peers: map[string]float64{theirs: 13.02, pytorch: 1.25, "a <peer>": 2},
	Training: &Training{
		Workload: "small",
		Side:     Side{10240, 225.5, 0.1, 0.09, 0.125, 1024, 100 << 20, 6.9315, ""},
		Theirs: map[string]Side{
			theirs:     {787.7, 17.35, 1.3, 1.22, 1.5, 632 << 20, 1500 << 20, 6.9316, ""},
			pytorch:    {8192, 180.4, 0.125, 0.12, 0.13, 0, 400 << 20, 6.9, "2.6.0, fused AdamW"},
			"a <peer>": {5120, 112.7, 0.2, 0.2, 0.2, 0, 0, 0, ""},
		},
		PeersMin:      map[string]float64{theirs: 12.5, pytorch: 1.2, "a <peer>": 1.9},
		PeersMax:      map[string]float64{theirs: 13.5, pytorch: 1.3, "a <peer>": 2.1},
		MemoryOfPeers: map[string]float64{theirs: 0.0667, pytorch: 0.25},
		Rounds:        5, Steps: 1, Threads: 2, Peak: 500,
		Profile: []KernelTime{
			{"linear", "forward", 17, 75, 0.75, 400, 0.8},
			{"AdamW", "update", 53, 20, 0.2, 0, 0},
			{between, "", 1, 5, 0.05, 0, 0},
		},
	},
}

func TestTable(t *testing.T) {
	var got bytes.Buffer
	if err := writeTraining(&got, trained); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/train.txt", got.String())
}

// golden compares text with a file, or writes that under -update.
func golden(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), text); d != "" {
		t.Errorf("%s differs; if it should, run the test with -update:\n%s", path, d)
	}
}
