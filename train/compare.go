package train

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/dustin/go-humanize"
)

// Comparison is of all values of one kind.
type Comparison struct {
	What      string      `json:"what"`
	Tensors   int         `json:"tensors"` // 0 for a number by itself
	Values    int64       `json:"values"`
	Different int         `json:"different"` // tensors, or 1 for a number
	First     *Difference `json:"first,omitempty"`
}

// String says how much was compared, and how much of it is equal.
func (c Comparison) String() string {
	switch {
	case c.Values == 0:
		return "none"
	case c.Tensors == 0 && c.Different == 0:
		return "equal"
	case c.Tensors == 0:
		return "not equal"
	}
	text := fmt.Sprintf("%d tensors of %s values, ", c.Tensors, humanize.Comma(c.Values))
	if c.Different == 0 {
		return text + "all equal"
	}
	return text + fmt.Sprintf("%d not equal", c.Different)
}

// Difference is where two tensors first differ, or that two numbers or two sent
// tensors do.
type Difference struct {
	Tensor   string `json:"tensor,omitempty"`
	Index    int    `json:"index"`    // of the element; -1 where there is none
	Recorded string `json:"recorded"` // value and bits
	Replayed string `json:"replayed"`
	ULPs     int64  `json:"ulps,omitempty"` // float32 apart; 0 where one is not a number
}

// String gives the place and both values.
func (d *Difference) String() string {
	text := fmt.Sprintf("recorded %s, replayed %s", d.Recorded, d.Replayed)
	if d.ULPs > 0 {
		text += fmt.Sprintf(", ulps apart: %d", d.ULPs)
	}
	switch {
	case d.Tensor == "":
		return text
	case d.Index < 0:
		return d.Tensor + ": " + text
	}
	return fmt.Sprintf("%s, element %d: %s", d.Tensor, d.Index, text)
}

// compareSent compares what was sent, in the order of the record: the first
// that differs is nearest to the cause.
func (p *playback) compareSent(recorded []sentMessage) Comparison {
	c := Comparison{What: "sent"}
	differ := func(name, recorded, replayed string) {
		c.Different++
		if c.First == nil {
			c.First = &Difference{Tensor: name, Index: -1, Recorded: recorded, Replayed: replayed}
		}
	}
	for _, want := range recorded {
		c.Tensors, c.Values = c.Tensors+1, c.Values+int64(want.Size)
		got, ok := p.sent[want.Name]
		delete(p.sent, want.Name)
		if !ok {
			differ(want.Name, want.String(), "nothing")
		} else if got != want {
			differ(want.Name, want.String(), got.String())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.sent)) {
		got := p.sent[name]
		c.Tensors, c.Values = c.Tensors+1, c.Values+int64(got.Size)
		differ(name, "nothing", got.String())
	}
	return c
}

// String describes the message.
func (m sentMessage) String() string { return fmt.Sprintf("%d values, CRC32C %08x", m.Size, m.CRC32C) }

// compareNumber compares the bits of two float64.
func compareNumber(what string, recorded, replayed uint64) Comparison {
	text := func(bits uint64) string { return fmt.Sprintf("%v (0x%016x)", math.Float64frombits(bits), bits) }
	return compareText(what, text(recorded), text(replayed))
}

// compareText compares two texts that differ where what they describe does.
func compareText(what, recorded, replayed string) Comparison {
	c := Comparison{What: what, Values: 1}
	if recorded != replayed {
		c.Different, c.First = 1, &Difference{Index: -1, Recorded: recorded, Replayed: replayed}
	}
	return c
}

// compareState compares the parameters and both moments after the step.
func (p *playback) compareState() ([3]Comparison, error) {
	all := [3]Comparison{{What: "parameters"}, {What: "first moments"}, {What: "second moments"}}
	for _, param := range p.machine.Params() {
		for i, s := range stateOf(param) {
			if err := all[i].compare(p.file, s); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// compare adds a tensor.
func (c *Comparison) compare(file *recordFile, s named) error {
	c.Tensors, c.Values = c.Tensors+1, c.Values+int64(len(s.x))
	var first *Difference
	err := eachChunk(file, "after/"+s.name, len(s.x), func(at int, recorded []float32) {
		for i, want := range recorded {
			got := s.x[at+i]
			if first == nil && math.Float32bits(got) != math.Float32bits(want) {
				first = differenceOf(s.name, at+i, want, got)
			}
		}
	})
	if first != nil {
		c.Different++
		if c.First == nil {
			c.First = first
		}
	}
	return err
}

func differenceOf(name string, index int, recorded, replayed float32) *Difference {
	text := func(x float32) string { return fmt.Sprintf("%v (0x%08x)", x, math.Float32bits(x)) }
	return &Difference{Tensor: name, Index: index, Recorded: text(recorded), Replayed: text(replayed), ULPs: ulps(recorded, replayed)}
}

// ulps is how many float32 lie between x and y, y counted; 0 where one is not a
// number.
func ulps(x, y float32) int64 {
	if x != x || y != y {
		return 0
	}
	return max(ordered(x)-ordered(y), ordered(y)-ordered(x))
}

// ordered maps floats to integers in the same order, both zeros to 0.
func ordered(x float32) int64 {
	bits := int64(int32(math.Float32bits(x)))
	if bits < 0 {
		return math.MinInt32 - bits
	}
	return bits
}
