package train

import (
	"strings"
	"testing"
)

// TestStragglers slows one worker of a stage down for a while; a stage that is
// slower as a whole, and a single slow step, are none.
func TestStragglers(t *testing.T) {
	s := newStragglers(6, 2)
	var said []string
	for step := range 6 * slowSteps {
		seconds := []float64{0.010, 0.011, 0.010, 0.030, 0.031, 0.030}
		if step >= slowSteps && step < 3*slowSteps {
			seconds[1] *= 2
		}
		if step == 10 {
			seconds[4] = 100
		}
		said = append(said, s.add(seconds)...)
	}
	if len(said) != 2 || !strings.HasPrefix(said[0], "worker 1 computes 22ms a step, the others of its stage 10ms") ||
		said[1] != "worker 1 computes as fast as the others again" {
		t.Errorf("said %q", said)
	}
	if one := newStragglers(2, 2); one.add([]float64{1, 9}) != nil {
		t.Error("stages of one worker have nobody to compare with")
	}
}
