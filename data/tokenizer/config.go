package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
)

// config is what this package reads of tokenizer_config.json.
type config struct {
	UnkToken             tokenName             `json:"unk_token"`
	AddPrefixSpace       bool                  `json:"add_prefix_space"`
	DoLowerCase          *bool                 `json:"do_lower_case"`
	StripAccents         *bool                 `json:"strip_accents"`
	TokenizeChineseChars *bool                 `json:"tokenize_chinese_chars"`
	AddedTokens          map[string]AddedToken `json:"added_tokens_decoder"` // by id
}

// tokenName is a token in tokenizer_config.json: its text, or an object with the text as content.
type tokenName string

// UnmarshalJSON reads either form.
func (n *tokenName) UnmarshalJSON(data []byte) error {
	if !bytes.HasPrefix(data, []byte("{")) {
		return json.Unmarshal(data, (*string)(n))
	}
	var object struct{ Content string }
	err := json.Unmarshal(data, &object)
	*n = tokenName(object.Content)
	return err
}

// addedTokens returns the added tokens of the config or, where it lists none, those of usual that the
// vocabulary has.
func (c config) addedTokens(v vocab, usual ...string) ([]AddedToken, error) {
	var added []AddedToken
	for key, t := range c.AddedTokens {
		id, err := strconv.Atoi(key)
		if err != nil {
			return nil, fmt.Errorf("added_tokens_decoder: %q is not an id", key)
		}
		t.ID = id
		added = append(added, t)
	}
	if len(added) == 0 {
		for _, name := range usual {
			if id, ok := v[name]; ok {
				added = append(added, AddedToken{ID: id, Content: name, Special: true})
			}
		}
	}
	sortByID(added)
	return added, nil
}

func loadConfig(dir string) (config, error) {
	var cfg config
	path := filepath.Join(dir, "tokenizer_config.json")
	data, err := readFile(path, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, nil
	}
	if err != nil {
		return cfg, err
	}
	if cfg, err = parseConfig(data); err != nil {
		return cfg, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

func parseConfig(data []byte) (config, error) {
	var cfg config
	if err := decode(data, &cfg); err != nil {
		return cfg, err
	}
	if n := len(cfg.AddedTokens); n > maxAdded {
		return cfg, fmt.Errorf("added_tokens_decoder: %d added tokens, at most %d are read", n, maxAdded)
	}
	return cfg, nil
}
