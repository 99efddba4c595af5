package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/parallel"
)

// searchedBy runs the suite and returns throughput by problem and method, and the
// lines.
func searchedBy(t *testing.T, o SearchOptions) (map[searchedFor]map[string]float64, []Searched) {
	t.Helper()
	var out bytes.Buffer
	o.JSON = true
	if err := Search(context.Background(), o, &out); err != nil {
		t.Fatal(err)
	}
	values := map[searchedFor]map[string]float64{}
	var all []Searched
	for d := json.NewDecoder(&out); d.More(); {
		var s Searched
		if err := d.Decode(&s); err != nil {
			t.Fatal(err)
		}
		if s.Suite != searchSuite {
			continue
		}
		key := searchedFor{s.Model, s.Devices, s.MemoryGiB}
		if values[key] == nil {
			values[key] = map[string]float64{}
		}
		values[key][s.Method] = s.Value
		all = append(all, s)
	}
	return values, all
}

// TestSearchOrder: no part of the space is better than BMW, and BMW is never
// better than the exact search; plans fit; more memory is never worse for what is
// exact in its space.
func TestSearchOrder(t *testing.T) {
	values, all := searchedBy(t, SearchOptions{
		Models: []string{"bert-huge-32", "t5-like-32", "swin-like-32"}, Devices: []int{8}, Memory: []int{8, 16},
	})
	for key, v := range values {
		if v[methodExact] == 0 || len(v) != len(searchMethods) {
			t.Errorf("%v: %v", key, v)
		}
		for method, value := range v {
			if value > v[methodExact]*(1+1e-9) || method != methodExact && value > v[methodBMW]*(1+1e-9) {
				t.Errorf("%v: %s reaches %v, BMW %v, exact %v", key, method, value, v[methodBMW], v[methodExact])
			}
			more := values[searchedFor{key.model, key.devices, 16}][method]
			if method != methodBMW && value > more*(1+1e-9) {
				t.Errorf("%v: %s reaches %v, and %v with 16 GiB", key, method, value, more)
			}
		}
	}
	for _, s := range all {
		if s.Bytes > int64(s.MemoryGiB)<<30 || (s.Plan == "") != (s.Value == 0) {
			t.Errorf("%+v", s)
		}
	}
}

// TestSearchTimes: a layer that is made of two blocks has twice their work, and
// their peak.
func TestSearchTimes(t *testing.T) {
	s, err := newSearching(SearchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.backend.Close()
	m := t5Like(2)
	source, err := s.tables.source(&m)
	if err != nil {
		t.Fatal(err)
	}
	if got := source.model.Kinds; len(got) != 6 || got[1] != 1 || got[2] != 1 || got[3] != 2 || got[5] != 3 {
		t.Errorf("kinds %v", got)
	}
	const rows, width, inner = 4, 1024, 2048
	decoder, err := source.Work(2, parallel.Strategy{DP: 1, TP: 1}, 1, rows)
	if err != nil {
		t.Fatal(err)
	}
	// Two blocks: four products of attention, two of the inner layer, biases, norms.
	params := int64(2 * (4*width*width + 2*width*inner + 4*width + inner + width + 4*width))
	if decoder.Params != params || decoder.Whole != 2*rows*512*width*4 || decoder.Border != decoder.Whole {
		t.Errorf("%d parameters, want %d; hands on %d and %d", decoder.Params, params, decoder.Whole, decoder.Border)
	}
}

func TestSearchRefuses(t *testing.T) {
	for _, c := range []struct {
		o    SearchOptions
		want string
	}{
		{SearchOptions{Models: []string{"bert"}}, `no model "bert": choose of bert-huge-32`},
		{SearchOptions{Devices: []int{4}}, `no number of devices "4": choose of 8, 16, 64`},
		{SearchOptions{Methods: []string{"best"}}, `no method "best": choose of dp, sdp`},
		{SearchOptions{Memory: []int{0}}, "memory [0]: give GiB of a device"},
	} {
		if err := Search(context.Background(), c.o, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := errors.New("stopped")
	cancel(stop)
	if err := Search(ctx, SearchOptions{}, &bytes.Buffer{}); !errors.Is(err, stop) {
		t.Errorf("%v, want %v", err, stop)
	}
}

func TestSearchTable(t *testing.T) {
	m := searchModels()[0]
	other := searchModels()[len(searchModels())-1]
	var all []Searched
	add := func(m searchModel, memory int, values ...float64) []Searched {
		var found []Searched
		for i, v := range values {
			s := searchedOf(&m, 8, memory, searchMethods[i].Label, nil)
			s.Value = v
			found = append(found, s)
		}
		all = append(all, found...)
		return found
	}
	for _, markdown := range []bool{false, true} {
		all = nil
		var out bytes.Buffer
		table := &searchTable{w: &out, markdown: markdown}
		for _, err := range []error{
			table.table(m, append(add(m, 8, 0, 0, 0, 0, 0, 0, 0, 9.5, 10), add(m, 16, 1, 2, 0.01234, 0, 123.456, 1000, 1234.5, 1500, 1500)...)),
			table.table(other, add(other, 80, 50, 50, 50, 50, 50, 50, 50, 100, 100)),
			table.summary(summarizeSearches(searchMethods, all)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		golden(t, map[bool]string{false: "testdata/search.txt", true: "testdata/search.md"}[markdown], out.String())
	}
}
