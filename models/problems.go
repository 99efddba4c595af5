package models

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/graph"
)

// problems gathers what is wrong with a configuration.
type problems []string

func (p *problems) addf(format string, args ...any) {
	*p = append(*p, fmt.Sprintf(format, args...))
}

// The greatest sizes accepted. They are far above any model's, and keep
// products of sizes within an int.
const (
	maxVocab  = 1 << 28
	maxWidth  = 1 << 20
	maxLayers = 1 << 12
)

// size checks that v is in [1, most].
func (p *problems) size(key string, v, most int) {
	if v < 1 || v > most {
		p.addf("%q is %d, needs 1 to %d", key, v, most)
	}
}

// heads checks that the width divides into heads.
func (p *problems) heads(widthKey string, width int, headsKey string, heads int) {
	if heads > 0 && width%heads != 0 {
		p.addf("%q %d is not divisible by %q %d", widthKey, width, headsKey, heads)
	}
}

// rate checks that v is a probability below 1.
func (p *problems) rate(key string, v float64) {
	if !(v >= 0 && v < 1) {
		p.addf("%q is %g, needs 0 or more and less than 1", key, v)
	}
}

// positive checks that v is above 0 and at most 1.
func (p *problems) positive(key string, v float64) {
	if !(v > 0 && v <= 1) {
		p.addf("%q is %g, needs more than 0 and at most 1", key, v)
	}
}

// activations maps the names of transformers to functions.
var activations = map[string]graph.Function{
	"gelu":              graph.GELUErf,
	"gelu_python":       graph.GELUErf,
	"gelu_new":          graph.GELUTanh,
	"gelu_fast":         graph.GELUTanh,
	"gelu_pytorch_tanh": graph.GELUTanh,
	"silu":              graph.SiLU,
	"swish":             graph.SiLU,
}

// activation checks that the function is implemented.
func (p *problems) activation(key, name string) {
	if _, ok := activations[name]; !ok {
		p.addf("%q is %.100q; supported: %s", key, name, strings.Join(slices.Sorted(maps.Keys(activations)), ", "))
	}
}
