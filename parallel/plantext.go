package parallel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// key is one key of the text form of a T.
type key[T any] struct {
	name string
	set  func(t *T, value string) error
	get  func(t *T) string // empty where the key is left out
}

// strategyKeys lists the keys of a strategy, in the order they are printed.
var strategyKeys = []key[Strategy]{
	degreeKey("dp", func(s *Strategy) *int { return &s.DP }),
	degreeKey("tp", func(s *Strategy) *int { return &s.TP }),
	optionalKey("sp", func(s *Strategy) *int { return &s.SP }),
	optionalKey("cp", func(s *Strategy) *int { return &s.CP }),
	numberKey("zero", 0, func(s *Strategy) *int { return &s.ZeRO }),
	flagKey("ckpt", "all", "none", func(s *Strategy) *bool { return &s.Checkpoint }),
	omitted("sequence_parallel", "off", flagKey("sequence_parallel", "on", "off", func(s *Strategy) *bool { return &s.SequenceParallel })),
	{
		"order",
		func(s *Strategy, v string) error { s.Order = Order(v); return nil },
		func(s *Strategy) string { return string(s.Order) },
	},
}

// planKeys lists the keys of a plan, in the order they are printed.
var planKeys = slices.Concat(
	[]key[Plan]{numberKey("pp", 1, func(p *Plan) *int { return &p.PP })},
	ofPlan(strategyKeys),
	[]key[Plan]{
		numberKey("micro", 1, func(p *Plan) *int { return &p.Micro }),
		{
			"schedule",
			func(p *Plan, v string) error { p.Schedule = Schedule(v); return nil },
			func(p *Plan) string { return string(p.Schedule) },
		},
		{"stages", setStages, func(p *Plan) string { return joinInts(p.Stages, ",") }},
		{"layers", setLayers, getLayers},
	},
)

// ofPlan makes keys of a plan of those of its strategy.
func ofPlan(keys []key[Strategy]) []key[Plan] {
	var all []key[Plan]
	for _, k := range keys {
		all = append(all, key[Plan]{
			k.name,
			func(p *Plan, v string) error { return k.set(&p.Strategy, v) },
			func(p *Plan) string { return k.get(&p.Strategy) },
		})
	}
	return all
}

func keyNames[T any](keys []key[T]) string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return strings.Join(names, ", ")
}

func numberKey[T any](name string, least int, field func(*T) *int) key[T] {
	return key[T]{
		name,
		func(t *T, v string) (err error) { *field(t), err = number(name, v, least); return },
		func(t *T) string { return strconv.Itoa(*field(t)) },
	}
}

// degreeKey is a degree, of which 0 is 1.
func degreeKey(name string, field func(*Strategy) *int) key[Strategy] {
	k := numberKey(name, 1, field)
	k.get = func(s *Strategy) string { return strconv.Itoa(max(1, *field(s))) }
	return k
}

// optionalKey is a degree that is left out where it is 1.
func optionalKey(name string, field func(*Strategy) *int) key[Strategy] {
	k := omitted(name, "1", degreeKey(name, field))
	set := k.set
	k.set = func(s *Strategy, v string) error {
		err := set(s, v)
		if *field(s) == 1 {
			*field(s) = 0
		}
		return err
	}
	return k
}

// omitted leaves k out where it has a value.
func omitted(name, value string, k key[Strategy]) key[Strategy] {
	get := k.get
	return key[Strategy]{name, k.set, func(s *Strategy) string {
		if v := get(s); v != value {
			return v
		}
		return ""
	}}
}

func flagKey(name, on, off string, field func(*Strategy) *bool) key[Strategy] {
	return key[Strategy]{
		name,
		func(s *Strategy, v string) error {
			if v != on && v != off {
				return &ValueError{name, v, fmt.Sprintf("must be %s or %s", on, off)}
			}
			*field(s) = v == on
			return nil
		},
		func(s *Strategy) string {
			if *field(s) {
				return on
			}
			return off
		},
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

func setStages(p *Plan, v string) error {
	for part := range strings.SplitSeq(v, ",") {
		n, err := number("stages", part, 0) // Validate knows what would be right instead of 0
		if err != nil {
			return &ValueError{"stages", v, fmt.Sprintf("%q is not a number of blocks, at least 1", part)}
		}
		p.Stages = append(p.Stages, n)
	}
	return nil
}

// Parse reads the text form of a plan: key=value, separated by spaces, in any
// order. Keys left out are those of [Default]. layers lists the strategies of
// all layers, as "0-1:dp=4;2-5:dp=2,tp=2,ckpt=all". Parse checks every value on
// its own; whether the plan fits a model is Validate's question. Its errors are
// a *KeyError, a *ValueError, a *RanksError or a *MeshError.
func Parse(text string) (*Plan, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, &ValueError{"plan", `""`, `is empty: write for example "pp=2 dp=2 micro=4"`}
	}
	p := Default()
	if err := setAll(p, planKeys, words); err != nil {
		return nil, err
	}
	if err := p.checkValues(); err != nil {
		return nil, err
	}
	return p, nil
}

// setAll sets what the words say.
func setAll[T any](t *T, keys []key[T], words []string) error {
	seen := map[string]bool{}
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return &ValueError{name, "", `has no value: write key=value, for example "dp=2"`}
		}
		i := slices.IndexFunc(keys, func(k key[T]) bool { return k.name == name })
		if i < 0 {
			return &KeyError{name, value, nearestKey(keys, name), keyNames(keys)}
		}
		if seen[name] {
			return &ValueError{name, value, "the key is given twice"}
		}
		seen[name] = true
		if err := keys[i].set(t, value); err != nil {
			return err
		}
	}
	return nil
}

func nearestKey[T any](keys []key[T], name string) string {
	nearest := slices.MinFunc(keys, func(a, b key[T]) int {
		return levenshtein.ComputeDistance(name, a.name) - levenshtein.ComputeDistance(name, b.name)
	})
	return nearest.name
}

// String gives the text form with every key but those that are seldom needed
// and at their default. Parse reads it back, except for Provenance, which only
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
