package parallel

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestAutoIsWidest checks against every way to use all workers: the plan is
// valid and no valid one has more data parallelism; where there is no plan, none
// is valid, and the number of workers proposed has one.
func TestAutoIsWidest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Facts{Blocks: rapid.IntRange(1, 12).Draw(t, "blocks")}
		workers := rapid.IntRange(1, 16).Draw(t, "workers")
		batch := rapid.IntRange(1, 48).Draw(t, "batch")
		widest := 0
		for dp := 1; dp <= workers; dp++ {
			p := Default()
			p.DP, p.PP = dp, workers/dp
			if p.Validate(f, workers, batch) == nil {
				widest = dp
			}
		}
		c, err := Auto(f, workers, batch)
		var none *AutoError
		switch {
		case errors.As(err, &none):
			if _, again := Auto(f, none.Fit, batch); widest > 0 || again != nil {
				t.Fatalf("%v, but dp=%d fits; %d workers: %v", err, widest, none.Fit, again)
			}
		case err != nil:
			t.Fatal(err)
		case c.Plan.DP != widest:
			t.Fatalf("%v, but dp=%d fits", c.Plan, widest)
		default:
			if err := c.Plan.Validate(f, workers, batch); err != nil {
				t.Fatalf("%v: %v", c.Plan, err)
			}
		}
	})
}

func TestAutoTranscript(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct{ blocks, workers, batch int }{
		{4, 1, 8}, {4, 4, 8}, {12, 8, 12}, {6, 6, 4}, {4, 7, 8}, {4, 0, 8},
	} {
		fmt.Fprintf(&b, "%d blocks, %d workers, batch %d\n", c.blocks, c.workers, c.batch)
		choice, err := Auto(Facts{Blocks: c.blocks}, c.workers, c.batch)
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
			continue
		}
		b.WriteString(choice.Explain())
	}
	golden(t, "auto.txt", b.String())
}
