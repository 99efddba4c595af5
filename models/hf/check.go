package hf

import (
	"fmt"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
)

// MismatchError lists every difference between a directory and a model.
type MismatchError struct {
	Path       string
	Missing    []Mismatch // the model has it, the directory not
	Unexpected []Mismatch // the directory has it, the model not
	Shapes     []Mismatch // both have it, in different shapes
	Dtypes     []Mismatch // of an element type that cannot be read
	Untied     []Mismatch // saved twice as if tied, but with different values
}

// Mismatch is one tensor that does not fit.
type Mismatch struct {
	Name   string
	Detail string // shapes, as "[2 6]" or "[2 6], the model has [2 8]"
}

// The number of tensors of each kind that Error lists.
const listed = 20

// Error lists the tensors, up to 20 of each kind.
func (e *MismatchError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "models/hf: %s: the tensors are not those of config.json's model", e.Path)
	for _, kind := range []struct {
		title string
		list  []Mismatch
	}{
		{"missing", e.Missing}, {"unexpected", e.Unexpected}, {"wrong shape", e.Shapes}, {"wrong type", e.Dtypes}, {"not tied", e.Untied},
	} {
		if len(kind.list) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n  %s (%d):", kind.title, len(kind.list))
		for _, m := range kind.list[:min(listed, len(kind.list))] {
			fmt.Fprintf(&b, "\n    %s %s", m.Name, m.Detail)
		}
		if more := len(kind.list) - listed; more > 0 {
			fmt.Fprintf(&b, "\n    and %d more", more)
		}
	}
	return b.String()
}

func (e *MismatchError) none() bool {
	return len(e.Missing)+len(e.Unexpected)+len(e.Shapes)+len(e.Dtypes)+len(e.Untied) == 0
}

// Check compares the tensors with the parameters of m, a whole model with its
// head. It returns nil or a *[MismatchError]. A tensor saved a second time for
// a tied head is right if its values are the same.
func (d *Dir) Check(m *graph.Model) error {
	e := &MismatchError{Path: d.Path}
	expected := map[string]bool{}
	for _, p := range slices.SortedFunc(slices.Values(m.Params), byName) {
		expected[p.Name] = true
		have, ok := d.entries[p.Name]
		switch {
		case !ok:
			e.Missing = append(e.Missing, Mismatch{p.Name, format(p.Stored)})
		case !slices.Equal(have.shape(), p.Stored):
			detail := fmt.Sprintf("%s, the model has %s", format(have.shape()), format(p.Stored))
			e.Shapes = append(e.Shapes, Mismatch{p.Name, detail})
		case !readable(have.view.DType()):
			e.Dtypes = append(e.Dtypes, Mismatch{p.Name, have.view.DType().String() + ", needs F32, F16 or BF16"})
		}
	}
	for _, name := range d.Names() {
		first, twin := d.twins[name]
		switch {
		case expected[name]:
		case !twin:
			e.Unexpected = append(e.Unexpected, Mismatch{name, format(d.entries[name].shape())})
		case !d.equal(name, first):
			detail := fmt.Sprintf("differs from %s; to train them apart set \"tie_word_embeddings\" to false", first)
			e.Untied = append(e.Untied, Mismatch{name, detail})
		}
	}
	if e.none() {
		return nil
	}
	return e
}

func byName(a, b *graph.Param) int { return strings.Compare(a.Name, b.Name) }

func format(s tensor.Shape) string { return fmt.Sprint([]int(s)) }

// equal reports whether two tensors have the same shape and values.
func (d *Dir) equal(a, b string) bool {
	x, y := d.entries[a], d.entries[b]
	if !slices.Equal(x.view.Shape(), y.view.Shape()) || !readable(x.view.DType()) || !readable(y.view.DType()) {
		return false
	}
	const chunk = 4096
	var p, q [chunk]float32
	wx, wy := int(x.view.DType().Size()), int(y.view.DType().Size())
	for i, size := 0, x.size(); i < size; i += chunk {
		n := min(chunk, size-i)
		decode(p[:n], x.view.DType(), x.view.Data()[i*wx:])
		decode(q[:n], y.view.DType(), y.view.Data()[i*wy:])
		if !slices.Equal(p[:n], q[:n]) {
			return false
		}
	}
	return true
}
