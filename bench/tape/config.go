package tape

import "fmt"

// Config is the size of a GPT with a feed-forward layer of 4 times its width
// and one micro-batch of its data.
type Config struct {
	Batch  int // B
	Seq    int // T, which is also the number of positions
	Width  int // C
	Heads  int // H
	Layers int
	Vocab  int  // V
	Tied   bool // the head multiplies by the token embedding
}

// norm is added to the variance in layer norms.
const norm = 1e-5

// rows is N, the number of tokens.
func (c Config) rows() int { return c.Batch * c.Seq }

// headWidth is D.
func (c Config) headWidth() int { return c.Width / c.Heads }

// validate says which size is wrong. Gorgonia squeezes dimensions of 1 away in
// ways that differ from operation to operation, so they are refused.
func (c Config) validate() error {
	for _, s := range []struct {
		name  string
		value int
		least int
	}{
		{"Batch", c.Batch, 1}, {"Seq", c.Seq, 2}, {"Heads", c.Heads, 1},
		{"Width", c.Width, 2}, {"Layers", c.Layers, 1}, {"Vocab", c.Vocab, 2},
	} {
		if s.value < s.least {
			return fmt.Errorf("tape: %s is %d, needs at least %d", s.name, s.value, s.least)
		}
	}
	if c.Width%c.Heads != 0 || c.headWidth() < 2 {
		return fmt.Errorf("tape: a width of %d does not split into %d heads of 2 or more", c.Width, c.Heads)
	}
	return nil
}
