package train

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/galvani-ml/galvani/internal/inputfile"
)

// ConfigFileError says what is wrong with a configuration file, and where.
type ConfigFileError struct {
	Path string
	Err  error // begins with line and column, if it has them
}

// Error gives path, line, column and fault.
func (e *ConfigFileError) Error() string { return e.Path + ":" + e.Err.Error() }

// Unwrap returns the fault.
func (e *ConfigFileError) Unwrap() error { return e.Err }

// ReadConfigFile returns the keys and values of a YAML configuration. It is
// strict: an unknown or repeated key, or a value of the wrong type, is a
// *ConfigFileError.
func ReadConfigFile(path string) (map[string]any, error) {
	text, err := inputfile.Read(path, maxConfigBytes)
	if err != nil {
		return nil, err
	}
	values, err := parseConfig(text)
	if err != nil {
		return nil, &ConfigFileError{path, err}
	}
	return values, nil
}

// maxConfigBytes bounds a configuration file; real ones are of a few hundred
// bytes. The YAML package takes quadratic time for deep nesting: seconds for this
// many bytes.
const maxConfigBytes = 64 << 10

func parseConfig(text []byte) (map[string]any, error) {
	if len(text) > maxConfigBytes {
		return nil, fmt.Errorf(" %d bytes are too much for a configuration", len(text))
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, placed(err)
	}
	for _, doc := range file.Docs {
		if err := checkKeys(doc.Body); err != nil {
			return nil, err
		}
		if err := checkAliases(doc.Body); err != nil {
			return nil, err
		}
	}
	if err := yaml.UnmarshalWithOptions(text, &Config{}, yaml.Strict()); err != nil {
		return nil, placed(err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, placed(err)
	}
	return values, nil
}

// placed puts line and column before a message of the YAML package.
func placed(err error) error {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		p := y.GetToken().Position
		return fmt.Errorf("%d:%d: %s", p.Line, p.Column, y.GetMessage())
	}
	return fmt.Errorf(" %w", err)
}

// checkKeys finds the first key that is not one of Config's.
func checkKeys(body ast.Node) error {
	known := configKeys()
	for _, pair := range pairs(body) {
		token := pair.Key.GetToken()
		key := pair.Key.String()
		if near := nearest(key, known); near != key {
			p := token.Position
			return fmt.Errorf("%d:%d: unknown key %.64q: did you mean %q?", p.Line, p.Column, key, near)
		}
	}
	return nil
}

// aliases finds the first alias.
type aliases struct{ first *ast.AliasNode }

// Visit implements ast.Visitor.
func (a *aliases) Visit(n ast.Node) ast.Visitor {
	if alias, ok := n.(*ast.AliasNode); ok && a.first == nil {
		a.first = alias
	}
	return a
}

// checkAliases refuses aliases: a few hundred bytes of them stand for more values than
// there is memory.
func checkAliases(body ast.Node) error {
	if body == nil {
		return nil
	}
	var a aliases
	ast.Walk(&a, body)
	if a.first == nil {
		return nil
	}
	p := a.first.GetToken().Position
	return fmt.Errorf("%d:%d: aliases are not read: write the value out", p.Line, p.Column)
}

func pairs(body ast.Node) []*ast.MappingValueNode {
	switch n := body.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

// configKeys lists the keys in the order of Config.
func configKeys() []string {
	var keys []string
	for f := range reflect.TypeFor[Config]().Fields() {
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "-" {
			keys = append(keys, key)
		}
	}
	return keys
}

// nearest returns the candidate with the fewest edits to word.
func nearest(word string, candidates []string) string {
	best, least := "", -1
	for _, c := range candidates {
		if d := levenshtein.ComputeDistance(word, c); least < 0 || d < least {
			best, least = c, d
		}
	}
	return best
}

// YAML gives the configuration as a file that reproduces it.
func (c *Config) YAML() ([]byte, error) { return yaml.Marshal(c) }
