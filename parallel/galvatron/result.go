package galvatron

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// resultFile is the result.json of a case. Lists are by stage, or one for all
// stages alike.
type resultFile struct {
	Batch      int              `json:"gbsz"`
	Chunks     int              `json:"chunks"`
	PP         int              `json:"pp"`
	Cost       float64          `json:"iteration_time_s"`
	Mode       string           `json:"tp_sp_mode"`
	Division   []int            `json:"pp_division"`
	Strategies []nested[string] `json:"strategies"`
	Memory     nested[int]      `json:"memory_used_mb"`
	ByStage    []int            `json:"memory_used_mb_per_stage"`
	VocabWidth int              `json:"vocab_tp"`
	VocabSP    int              `json:"vocab_sp"`
	VocabZeRO3 int              `json:"vocab_sdp"`
}

// nested is a value or a list of values.
type nested[T any] struct {
	list []T
	one  bool
}

// UnmarshalJSON reads either.
func (n *nested[T]) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, &n.list)
	}
	n.list, n.one = make([]T, 1), true
	return json.Unmarshal(data, &n.list[0])
}

// readResult reads result.json.
func readResult(dir fs.FS) (*resultFile, error) {
	data, err := readFile(dir, "result.json")
	if err != nil {
		return nil, err
	}
	r := &resultFile{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("result.json: %w", err)
	}
	return r, r.validate()
}

// most bounds numbers of layers, stages and the like that files tell.
const most = 1 << 12

// validate refuses divisions that are none.
func (r *resultFile) validate() error {
	total, flat := 0, 0
	for _, n := range r.Division {
		if n < 1 || n > most {
			return fmt.Errorf("result.json: %d layers on a stage", n)
		}
		total += n
	}
	if total > most || len(r.Strategies) > most {
		return fmt.Errorf("result.json: %d layers with %d strategies: at most %d are read", total, len(r.Strategies), most)
	}
	if !(r.Cost >= 0 && r.Cost <= maxSeconds) {
		return fmt.Errorf("result.json: a step of %v s", r.Cost)
	}
	for _, s := range r.Strategies {
		flat += digit(s.one)
	}
	switch {
	case r.PP < 0 || r.PP > most:
		return fmt.Errorf("result.json: %d stages", r.PP)
	case flat > 0 && flat < len(r.Strategies):
		return errors.New("result.json: strategies both by layer and by stage")
	case (flat > 0 || r.Cost > 0 && len(r.Strategies) == 0) && total > 0 && flat != total:
		return fmt.Errorf("result.json: %d strategies for %d layers", flat, total)
	}
	return nil
}

// memory is the MB of every stage.
func (r *resultFile) memory() []int {
	switch {
	case len(r.ByStage) > 0:
		return r.ByStage
	case r.Memory.one && r.PP > 1:
		return slices.Repeat(r.Memory.list, r.PP)
	}
	return r.Memory.list
}

// stages is the strategies of every stage's layers: listed by stage, in a row
// for all layers, or of one stage where all are alike.
func (r *resultFile) stages() [][]string {
	var row []string
	var stages [][]string
	for _, n := range r.Strategies {
		if n.one {
			row = append(row, n.list[0])
		} else {
			stages = append(stages, n.list)
		}
	}
	switch {
	case stages != nil:
		return stages
	case len(r.Division) == 0:
		return slices.Repeat([][]string{row}, max(1, r.PP))
	}
	for _, n := range r.Division {
		stages, row = append(stages, row[:n]), row[n:]
	}
	return stages
}
