package train

import (
	"fmt"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/parallel/search"
	"github.com/galvani-ml/galvani/train/planning"
)

// strategyNames are the strategies that a search may use, as users name them.
var strategyNames = []struct {
	name     string
	paradigm search.Paradigm
}{
	{"dp", search.DP}, {"zero1", search.ZeRO1}, {"zero2", search.ZeRO2}, {"zero3", search.SDP},
	{"tp", search.TP}, {"sequence_parallel", search.TPSP}, {"sp", search.SP}, {"cp", search.CP},
}

// StrategyNames lists the strategies that a search may use, pp and ckpt besides.
func StrategyNames() string {
	var names []string
	for _, s := range strategyNames {
		names = append(names, s.name)
	}
	return strings.Join(append(names, "pp", "ckpt"), ", ")
}

// usualStrategies are those that a search uses unless others are named:
// Galvatron's, and the stages of ZeRO between.
var usualStrategies = []string{"dp", "zero1", "zero2", "zero3", "tp", "pp", "ckpt"}

// allow takes strategies into a request.
func allow(r *planning.Request, names []string) error {
	if len(names) == 0 {
		names = usualStrategies
	}
	pipeline := false
	for _, name := range names {
		i := slices.IndexFunc(strategyNames, func(s struct {
			name     string
			paradigm search.Paradigm
		}) bool {
			return s.name == name
		})
		switch {
		case i >= 0:
			r.Paradigms = append(r.Paradigms, strategyNames[i].paradigm)
		case name == "ckpt":
			r.Checkpoint = true
		case name == "pp":
			pipeline = true
		default:
			return fmt.Errorf("--strategies %s: must be of %s", name, StrategyNames())
		}
	}
	if !pipeline {
		r.Stages = []int{1}
	}
	return nil
}
