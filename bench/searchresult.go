package bench

import (
	"cmp"
	"fmt"
	"math"

	"github.com/galvani-ml/galvani/parallel/planner"
)

// Searched is what the suite search finds for a model by a method, as JSON one
// object a line.
type Searched struct {
	Suite     string  `json:"suite"`
	Name      string  `json:"name"`
	Value     float64 `json:"value"` // samples a second, 0 where no plan fits
	Unit      string  `json:"unit"`
	Model     string  `json:"model"`
	Devices   int     `json:"devices"`
	MemoryGiB int     `json:"memory_gib"` // of a device
	Method    string  `json:"method"`
	Unequal   bool    `json:"unequal_layers,omitempty"`

	Plan   string  `json:"plan,omitempty"`
	Batch  int     `json:"batch,omitempty"`
	Step   float64 `json:"step_s,omitempty"`
	Bytes  int64   `json:"bytes,omitempty"` // of the fullest device
	Search float64 `json:"search_s"`
}

// searchedOf is the result of a choice, nil where there is none.
func searchedOf(m *searchModel, devices, memory int, method string, c *planner.Choice) Searched {
	s := Searched{
		Suite: searchSuite, Name: m.Label + fmt.Sprintf(" %d devices %d GiB %s", devices, memory, method), Unit: "samples/s",
		Model: m.Label, Devices: devices, MemoryGiB: memory, Method: method, Unequal: m.Unequal,
	}
	if c == nil {
		return s
	}
	s.Plan, s.Batch, s.Step, s.Value = c.Plan.String(), c.Batch, c.Step, float64(c.Batch)/c.Step
	for _, stage := range c.Stages {
		s.Bytes = max(s.Bytes, stage.Memory)
	}
	return s
}

const searchSuite = "search"

// SearchSummary holds BMW and the exact search against the other methods, over
// the models of a kind.
type SearchSummary struct {
	Suite  string  `json:"suite"`
	Name   string  `json:"name"`
	Value  float64 `json:"value"` // the share of problems in which BMW is exact
	Unit   string  `json:"unit"`
	Layers string  `json:"layers"` // all, equal or unequal

	Problems int       `json:"problems"` // model, devices and memory, for which BMW and the exact search have a plan
	Equal    int       `json:"equal"`    // of them, those in which BMW's is the best, within 1e-9
	Gap      float64   `json:"gap"`      // by how much more the exact search reaches, at most
	GapAt    string    `json:"gap_at,omitempty"`
	Over     []SpeedUp `json:"over"` // each of the other methods
}

// SpeedUp is over a method.
type SpeedUp struct {
	Method  string  `json:"method"`
	BMW     float64 `json:"bmw"`      // geometric mean of the ratios of throughput, where both have a plan
	Exact   float64 `json:"exact"`    // the same of the exact search
	Most    float64 `json:"most"`     // the largest ratio of the exact search
	Cells   int     `json:"cells"`    // where both have a plan
	NotOurs int     `json:"not_ours"` // where the method alone has one
	Missing int     `json:"missing"`  // where the method has none and the exact search has
}

// searchedFor identifies a problem.
type searchedFor struct {
	model           string
	devices, memory int
}

// summarizeSearches compares the methods, where BMW and the exact search are
// among them.
func summarizeSearches(methods []searchMethod, all []Searched) []SearchSummary {
	var summaries []SearchSummary
	for _, layers := range []string{"all", "equal", "unequal"} {
		values := map[searchedFor]map[string]float64{}
		var order []searchedFor
		for _, s := range all {
			if layers != "all" && s.Unequal != (layers == "unequal") {
				continue
			}
			key := searchedFor{s.Model, s.Devices, s.MemoryGiB}
			if values[key] == nil {
				values[key], order = map[string]float64{}, append(order, key)
			}
			values[key][s.Method] = s.Value
		}
		if summary := summarizeSearch(methods, order, values); summary.Problems > 0 && (len(summaries) == 0 || summary.Problems < summaries[0].Problems) {
			summary.Layers, summary.Name = layers, layers+" layers"
			summaries = append(summaries, summary)
		}
	}
	return summaries
}

func summarizeSearch(methods []searchMethod, problems []searchedFor, values map[searchedFor]map[string]float64) SearchSummary {
	s := SearchSummary{Suite: searchSuite + "-summary", Unit: "share"}
	for _, key := range problems {
		bmw, exact := values[key][methodBMW], values[key][methodExact]
		if bmw == 0 || exact == 0 {
			continue
		}
		s.Problems++
		gap := exact/bmw - 1
		if gap <= 1e-9 {
			s.Equal++
		}
		if gap > s.Gap && gap > 1e-9 {
			s.Gap, s.GapAt = gap, key.String()
		}
	}
	s.Value = float64(s.Equal) / max(1, float64(s.Problems))
	for _, m := range methods {
		if m.Label == methodBMW || m.Label == methodExact {
			continue
		}
		s.Over = append(s.Over, speedUp(m.Label, problems, values))
	}
	return s
}

// speedUp compares with one method.
func speedUp(method string, problems []searchedFor, values map[searchedFor]map[string]float64) SpeedUp {
	u := SpeedUp{Method: method}
	var bmw, exact float64
	for _, key := range problems {
		v := values[key]
		switch {
		case v[method] == 0 && v[methodExact] > 0:
			u.Missing++
		case v[method] > 0 && v[methodBMW]*v[methodExact] == 0:
			u.NotOurs++
		case v[method] > 0:
			u.Cells++
			bmw, exact = bmw+math.Log(v[methodBMW]/v[method]), exact+math.Log(v[methodExact]/v[method])
			u.Most = max(u.Most, v[methodExact]/v[method])
		}
	}
	if n := float64(cmp.Or(u.Cells, 1)); u.Cells > 0 {
		u.BMW, u.Exact = math.Exp(bmw/n), math.Exp(exact/n)
	}
	return u
}
