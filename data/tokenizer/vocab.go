package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// maxVocab bounds ids, so that a broken file cannot ask for memory without limit.
const maxVocab = 1 << 21

// vocab maps a token's name to its id. As JSON it is an object in the order of ids; names and ids that
// occur twice are errors.
type vocab map[string]int

func checkID(name string, id int) error {
	if id < 0 || id >= maxVocab {
		return fmt.Errorf("token %q has id %d, outside 0 to %d", name, id, maxVocab-1)
	}
	return nil
}

func (v vocab) byID() map[int]string {
	names := make(map[int]string, len(v))
	for name, id := range v {
		names[id] = name
	}
	return names
}

// size is one more than the largest id.
func (v vocab) size() int {
	n := 0
	for _, id := range v {
		n = max(n, id+1)
	}
	return n
}

// add enters a token and reports a name or an id that is taken.
func (v vocab) add(names map[int]string, name string, id int) error {
	if err := checkID(name, id); err != nil {
		return err
	}
	if old, ok := v[name]; ok {
		return fmt.Errorf("token %q is listed twice, with ids %d and %d", name, old, id)
	}
	if old, ok := names[id]; ok {
		return fmt.Errorf("id %d is both %q and %q", id, old, name)
	}
	v[name], names[id] = id, name
	return nil
}

// UnmarshalJSON reads an object of names and ids.
func (v *vocab) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("vocabulary: want an object of tokens and ids, got %.20s", data)
	}
	*v = vocab{}
	names := map[int]string{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		var id int
		if err := dec.Decode(&id); err != nil {
			return fmt.Errorf("vocabulary: id of token %q: %w", name, err)
		}
		if err := v.add(names, name, id); err != nil {
			return fmt.Errorf("vocabulary: %w", err)
		}
	}
	return nil
}

// MarshalJSON writes the object in the order of ids.
func (v vocab) MarshalJSON() ([]byte, error) {
	names := v.byID()
	b := []byte{'{'}
	for i, id := range slices.Sorted(maps.Keys(names)) {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := marshal(names[id])
		if err != nil {
			return nil, err
		}
		b = fmt.Appendf(append(b, key...), ":%d", id)
	}
	return append(b, '}'), nil
}

// marshal is json.Marshal without the escapes for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
