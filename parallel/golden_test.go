package parallel

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the transcripts in testdata anew")

// golden compares text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run with -update to write it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs: run with -update if that is meant\n%s", path, diff)
	}
}

func TestPartTranscripts(t *testing.T) {
	for _, c := range []struct {
		file, plan string
		ranks      []int
		seq        int
	}{
		{"gpt-pp2-dp2.txt", "pp=2 dp=2 micro=2 stages=1,2", []int{0, 3}, 3},
		{"gpt-tp2.txt", "tp=2", []int{1}, 3},
		{"gpt-tp2-sequence.txt", "tp=2 sequence_parallel=on", []int{1}, 4},
		{"gpt-zero3.txt", "dp=2 zero=3", []int{0}, 3},
	} {
		t.Run(c.file, func(t *testing.T) {
			var b strings.Builder
			s := gpt(1, 2, c.seq)
			if len(c.ranks) == 2 {
				s.blocks = 3
			}
			for _, rank := range c.ranks {
				part, err := Partition(s.build(t), plan(t, c.plan), rank)
				if err != nil {
					t.Fatal(err)
				}
				if err := part.Stage.Differentiate(); err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "%s\n%s\n", c.plan, part.Describe())
			}
			golden(t, c.file, b.String())
		})
	}
}
