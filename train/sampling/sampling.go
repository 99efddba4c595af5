// Package sampling draws the next token from a model's logits.
package sampling

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Options shape the distribution that tokens are drawn from.
type Options struct {
	Temperature float64 // divides the logits; 0 takes the likeliest token
	TopK        int     // keep the K likeliest tokens; 0 keeps all
	TopP        float64 // keep the likeliest tokens that together have probability P; 1 keeps all
	Seed        uint64
}

// Validate reports all values that are out of range.
func (o Options) Validate() error {
	var errs []error
	if !(o.Temperature >= 0) {
		errs = append(errs, fmt.Errorf("--temperature %g: must not be negative", o.Temperature))
	}
	if o.TopK < 0 {
		errs = append(errs, fmt.Errorf("--top-k %d: must not be negative", o.TopK))
	}
	if !(o.TopP > 0 && o.TopP <= 1) {
		errs = append(errs, fmt.Errorf("--top-p %g: must be in (0, 1]", o.TopP))
	}
	return errors.Join(errs...)
}

// Sampler draws tokens. Equal options and logits draw equal tokens.
type Sampler struct {
	o    Options
	rand *rand.Rand
	kept []candidate
}

type candidate struct {
	id int
	p  float64 // logit, then weight
}

// New returns a sampler at the start of its random sequence.
func New(o Options) *Sampler {
	return &Sampler{o: o, rand: rand.New(rand.NewPCG(o.Seed, 0))}
}

// Next draws a token: temperature, then top-k, then top-p (Holtzman et al.:
// The Curious Case of Neural Text Degeneration, 2020).
func (s *Sampler) Next(logits []float32) int {
	s.kept = s.kept[:0]
	for id, l := range logits {
		s.kept = append(s.kept, candidate{id, float64(l)})
	}
	if s.o.Temperature == 0 {
		return slices.MinFunc(s.kept, likelier).id
	}
	slices.SortFunc(s.kept, likelier)
	if s.o.TopK > 0 {
		s.kept = s.kept[:min(s.o.TopK, len(s.kept))]
	}
	total := s.weigh()
	total = s.keepTop(total)
	at := s.rand.Float64() * total
	for _, c := range s.kept {
		if at -= c.p; at < 0 {
			return c.id
		}
	}
	return s.kept[len(s.kept)-1].id
}

func likelier(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.p, a.p), cmp.Compare(a.id, b.id))
}

// weigh turns logits into weights relative to the likeliest, and returns
// their sum.
func (s *Sampler) weigh() float64 {
	most, total := s.kept[0].p, 0.0
	for i := range s.kept {
		w := math.Exp((s.kept[i].p - most) / s.o.Temperature)
		s.kept[i].p = w
		total += w
	}
	return total
}

// keepTop cuts the candidates to those that make up TopP, and returns the sum
// of their weights.
func (s *Sampler) keepTop(total float64) float64 {
	if s.o.TopP >= 1 {
		return total
	}
	var sum float64
	for i, c := range s.kept {
		if sum += c.p; sum >= s.o.TopP*total {
			s.kept = s.kept[:i+1]
			break
		}
	}
	return sum
}
