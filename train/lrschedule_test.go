package train

import (
	"math"
	"testing"
)

func TestLearningRate(t *testing.T) {
	for _, c := range []struct {
		schedule string
		warmup   int
		step     int
		want     float64
	}{
		{"constant", 0, 0, 1},
		{"constant", 0, 99, 1},
		{"constant", 4, 0, 0.2},
		{"constant", 4, 3, 0.8},
		{"constant", 4, 4, 1},
		{"cosine", 0, 0, 1},
		{"cosine", 20, 19, 20.0 / 21},
		{"cosine", 20, 20, 1},
		{"cosine", 20, 60, 0.55}, // halfway
		{"cosine", 20, 100, 0.1},
		{"cosine", 20, 500, 0.1},
	} {
		cfg := Config{LR: 1, LRSchedule: c.schedule, Warmup: c.warmup, Steps: 100}
		if got := cfg.learningRate(c.step); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s, warm-up %d, step %d: %g, want %g", c.schedule, c.warmup, c.step, got, c.want)
		}
	}
}
