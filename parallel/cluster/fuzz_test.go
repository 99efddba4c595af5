package cluster

import (
	"encoding/json"
	"io"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// What is read is written and read again the same, and answers every question
// with a number.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"titan-8", "a100-64"} {
		c := preset(f, name)
		for i := range c.Links {
			c.Links[i].Measured = c.Links[i].Measured[:min(1, len(c.Links[i].Measured))]
		}
		data, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	data, err := json.Marshal(machine())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, text := range []string{
		"", "null", "{}", `{"schema":"galvani/cluster/v1"}`, `{"schema":"galvani/cluster/v1","hosts":1e99}`,
		`{"schema":"galvani/cluster/v1","links":[null]}`,
		`{"schema":"galvani/cluster/v1","hosts":1,"per_host":1,"overlap":1,"device":{"memory":1,"bandwidth":1,"rates":[{"per_second":1}]}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		written, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(written)
		if err != nil {
			t.Fatalf("%s is not read: %v", written, err)
		}
		if diff := cmp.Diff(c, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		for _, kind := range Kinds() {
			for _, g := range []Group{{2, 1}, {2, 3}, {c.Devices(), 1}, {1 << 40, 1 << 40}} {
				if s := c.Time(Exchange{kind, 1 << 30, g}); math.IsNaN(s) || s < 0 {
					t.Fatalf("%s over %v takes %v", kind, g, s)
				}
			}
		}
		if s := c.Device.Time(Op{"linear", 1, 1 << 40, 1 << 30}, "bf16"); !(s >= 0) || math.IsInf(s, 0) {
			t.Fatalf("an operation takes %v", s)
		}
		if err := c.Describe(io.Discard); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{-1, 0, 1, 3, 64} {
			if scaled, err := c.WithDevices(n); err == nil && scaled.Devices() != n {
				t.Fatalf("%d devices, want %d", scaled.Devices(), n)
			}
		}
	})
}

// Any cluster that is valid is written and read again the same.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := random(t)
		c.Note, c.Cores = rapid.String().Draw(t, "note"), rapid.IntRange(0, 64).Draw(t, "cores")
		c.Overlap = rapid.Float64Range(1, 2).Draw(t, "overlap")
		c.Device.Launch = rapid.Float64Range(0, 1).Draw(t, "launch")
		c.Provenance.On = rapid.SampledFrom([]string{"", "a processor"}).Draw(t, "on")
		for i := range c.Links {
			if !rapid.Bool().Draw(t, "measured") {
				continue
			}
			m := Collective{Kind: rapid.SampledFrom(Kinds()).Draw(t, "kind"), Group: Group{2, rapid.IntRange(1, 64).Draw(t, "stride")}}
			bytes := int64(0)
			for range rapid.IntRange(1, 5).Draw(t, "points") {
				bytes += rapid.Int64Range(1, 1<<30).Draw(t, "bytes")
				m.Points = append(m.Points, Point{bytes, rapid.Float64Range(1e-9, 1e3).Draw(t, "seconds"), rapid.Float64Range(0, 1).Draw(t, "spread")})
			}
			c.Links[i].Measured = []Collective{m}
		}
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
