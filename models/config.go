package models

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/graph"
)

// Config is the configuration of a model, [*GPTConfig] or [*BERTConfig]. It
// marshals to a config.json that transformers reads.
type Config interface {
	json.Marshaler
	// Type is the model_type of config.json.
	Type() string
	// Vocab is V, the size of the vocabulary.
	Vocab() int
	// MaxSeq is P, the number of positions the model knows.
	MaxSeq() int
	// Layers is L, the number of blocks.
	Layers() int
	// Width is C.
	Width() int
	// Tied says that the head multiplies by the table of the embedding.
	Tied() bool

	unknownKeys() map[string]string
	resized(vocab, positions, blocks int) Config
	problems() problems
	// build adds the layers to a graph; o is checked.
	build(o Options) (*graph.Model, error)
	// matrixParams is the number of parameters in matrices that every token is
	// multiplied with.
	matrixParams() int
}

// parsers has a reader of config.json for each model type.
var parsers = map[string]func(object) (Config, error){
	"gpt2": parseGPT,
	"bert": parseBERT,
}

// ConfigError lists everything that is wrong with a configuration.
type ConfigError struct {
	Type     string // model type, empty where unknown
	Problems []string
}

// Error gives the problems on one line.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("models: %s: %s", strings.TrimSpace(e.Type+" config"), strings.Join(e.Problems, "; "))
}

// maxConfigBytes bounds a config.json; real ones are of some kilobytes.
const maxConfigBytes = 1 << 20

// ParseConfig reads a config.json. It rejects, in one *[ConfigError], whatever
// is missing or would change the mathematics beyond what is implemented; keys
// it does not know are kept and written again by MarshalJSON.
func ParseConfig(data []byte) (Config, error) {
	if len(data) > maxConfigBytes {
		return nil, &ConfigError{Problems: []string{fmt.Sprintf("%d bytes are too many for a configuration: at most %d are read", len(data), maxConfigBytes)}}
	}
	var raw object
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, &ConfigError{Problems: []string{"not a JSON object: " + err.Error()}}
	}
	supported := strings.Join(slices.Sorted(maps.Keys(parsers)), ", ")
	var modelType string
	if !raw.has("model_type") {
		return nil, &ConfigError{Problems: []string{`"model_type" is missing; supported: ` + supported}}
	}
	if err := json.Unmarshal(raw["model_type"], &modelType); err != nil {
		return nil, &ConfigError{Problems: []string{`"model_type" is not a string; supported: ` + supported}}
	}
	parse, ok := parsers[modelType]
	if !ok {
		problem := fmt.Sprintf("model type %.100q is unknown; supported: %s", modelType, supported)
		return nil, &ConfigError{Problems: []string{problem}}
	}
	return parse(raw)
}

// Warnings names the keys of cfg's config.json that look like misspellings of
// keys that have a meaning.
func Warnings(cfg Config) []string {
	var warnings []string
	unknown := cfg.unknownKeys()
	for _, key := range slices.Sorted(maps.Keys(unknown)) {
		if near := unknown[key]; near != "" {
			warnings = append(warnings, fmt.Sprintf("config.json: unknown key %q is ignored: did you mean %q?", key, near))
		}
	}
	return warnings
}

// WithVocab returns cfg with a vocabulary of n. Special tokens outside it are
// dropped.
func WithVocab(cfg Config, n int) (Config, error) {
	return checked(cfg.resized(n, cfg.MaxSeq(), cfg.Layers()))
}

// WithPositions returns cfg with n positions.
func WithPositions(cfg Config, n int) (Config, error) {
	return checked(cfg.resized(cfg.Vocab(), n, cfg.Layers()))
}

// WithBlocks returns cfg with n blocks.
func WithBlocks(cfg Config, n int) (Config, error) {
	return checked(cfg.resized(cfg.Vocab(), cfg.MaxSeq(), n))
}

// checked returns cfg, or what is wrong with it.
func checked(cfg Config) (Config, error) {
	if p := cfg.problems(); len(p) > 0 {
		return nil, &ConfigError{Type: cfg.Type(), Problems: p}
	}
	return cfg, nil
}

// inside returns the token id, nil where it is outside the vocabulary.
func inside(id *int, vocab int) *int {
	if id != nil && *id >= vocab {
		return nil
	}
	return id
}
