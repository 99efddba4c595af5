package train

import "math"

// learningRate returns the rate of a step, counted from 0: it rises linearly
// over the warm-up, then stays (constant) or falls along half a cosine to a
// tenth at the last step (cosine, as in GPT-3 and nanoGPT).
func (c *Config) learningRate(step int) float64 {
	if step < c.Warmup {
		return c.LR * float64(step+1) / float64(c.Warmup+1)
	}
	if c.LRSchedule == "constant" {
		return c.LR
	}
	least := c.LR / 10
	done := float64(step-c.Warmup) / float64(max(1, c.Steps-c.Warmup))
	return least + (c.LR-least)*0.5*(1+math.Cos(math.Pi*min(1, done)))
}
