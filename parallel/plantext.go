package parallel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// planKey is one key of the text form.
type planKey struct {
	name string
	set  func(p *Plan, value string) error
	get  func(p *Plan) string // empty where the key is left out
}

// planKeys lists the keys in the order they are printed.
var planKeys = []planKey{
	numberKey("pp", 1, func(p *Plan) *int { return &p.PP }),
	numberKey("dp", 1, func(p *Plan) *int { return &p.DP }),
	numberKey("tp", 1, func(p *Plan) *int { return &p.TP }),
	numberKey("zero", 0, func(p *Plan) *int { return &p.ZeRO }),
	{"ckpt", setCheckpoint, getCheckpoint},
	numberKey("micro", 1, func(p *Plan) *int { return &p.Micro }),
	{
		"schedule",
		func(p *Plan, v string) error { p.Schedule = Schedule(v); return nil },
		func(p *Plan) string { return string(p.Schedule) },
	},
	{"stages", setStages, func(p *Plan) string { return joinInts(p.Stages, ",") }},
}

func keyNames() string {
	names := make([]string, len(planKeys))
	for i, k := range planKeys {
		names[i] = k.name
	}
	return strings.Join(names, ", ")
}

func numberKey(name string, least int, field func(*Plan) *int) planKey {
	return planKey{
		name,
		func(p *Plan, v string) (err error) { *field(p), err = number(name, v, least); return },
		func(p *Plan) string { return strconv.Itoa(*field(p)) },
	}
}

func number(key, value string, least int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, &ValueError{key, value, "must be a whole number"}
	}
	if n < least || n > maxDegree {
		return 0, &ValueError{key, value, fmt.Sprintf("must be %d to %d", least, maxDegree)}
	}
	return n, nil
}

func setCheckpoint(p *Plan, v string) error {
	if v != "all" && v != "none" {
		return &ValueError{"ckpt", v, "must be all or none"}
	}
	p.Checkpoint = v == "all"
	return nil
}

func getCheckpoint(p *Plan) string {
	if p.Checkpoint {
		return "all"
	}
	return "none"
}

func setStages(p *Plan, v string) error {
	for part := range strings.SplitSeq(v, ",") {
		n, err := number("stages", part, 1)
		if err != nil {
			return &ValueError{"stages", v, fmt.Sprintf("%q is not a number of blocks, at least 1", part)}
		}
		p.Stages = append(p.Stages, n)
	}
	return nil
}

// Parse reads the text form of a plan: key=value, separated by spaces, in any
// order. Keys left out are those of [Default]. It checks every value on its
// own; whether the plan fits a model is Validate's question. Its errors are a
// *KeyError or a *ValueError.
func Parse(text string) (*Plan, error) {
	p := Default()
	seen := map[string]bool{}
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, &ValueError{"plan", `""`, `is empty: write for example "pp=2 dp=2 micro=4"`}
	}
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, &ValueError{name, "", `has no value: write key=value, for example "pp=2"`}
		}
		i := slices.IndexFunc(planKeys, func(k planKey) bool { return k.name == name })
		if i < 0 {
			return nil, &KeyError{name, value, nearestKey(name)}
		}
		if seen[name] {
			return nil, &ValueError{name, value, "the key is given twice"}
		}
		seen[name] = true
		if err := planKeys[i].set(p, value); err != nil {
			return nil, err
		}
	}
	if err := p.checkValues(); err != nil {
		return nil, err
	}
	return p, nil
}

func nearestKey(name string) string {
	nearest := slices.MinFunc(planKeys, func(a, b planKey) int {
		return levenshtein.ComputeDistance(name, a.name) - levenshtein.ComputeDistance(name, b.name)
	})
	return nearest.name
}

// String gives the text form with every key, stages only where they are
// listed. Parse reads it back, except for Layers and Provenance, which only
// the JSON form has.
func (p *Plan) String() string {
	var words []string
	for _, k := range planKeys {
		if v := k.get(p); v != "" {
			words = append(words, k.name+"="+v)
		}
	}
	return strings.Join(words, " ")
}
