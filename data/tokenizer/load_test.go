package tokenizer

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// dirWith returns a directory with the given files.
func dirWith(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSaveAndLoad(t *testing.T) {
	for name, tok := range map[string]Tokenizer{"bpe": smallBPE(), "wordpiece": smallWordPiece(t)} {
		dir := t.TempDir()
		if err := Save(filepath.Join(dir, "tokenizer.json"), tok); err != nil {
			t.Fatal(err)
		}
		again, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		const text = "func main() { hello, world! }\n<|endoftext|>[MASK]"
		if got, want := again.Encode(text), tok.Encode(text); !slices.Equal(got, want) {
			t.Errorf("%s: ids %v after loading, want %v", name, got, want)
		}
		if again.Decode(again.Encode(text)) != tok.Decode(tok.Encode(text)) || again.VocabSize() != tok.VocabSize() {
			t.Errorf("%s: text or vocabulary differ after loading", name)
		}
		if a, b := must(Fingerprint(tok)), must(Fingerprint(again)); a != b {
			t.Errorf("%s: fingerprint %s after loading, want %s", name, b, a)
		}
		if !slices.Equal(again.(SpecialLister).SpecialIDs(), tok.(SpecialLister).SpecialIDs()) {
			t.Errorf("%s: special tokens differ after loading", name)
		}
	}
}

func TestSaveGPT2(t *testing.T) {
	bpe := gpt2(t)
	var b bytes.Buffer
	if _, err := bpe.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	again, err := parseHF(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Encode("Hello world<|endoftext|>"); !slices.Equal(got, []int{15496, 995, 50256}) {
		t.Errorf("ids %v", got)
	}
}

func TestLoadTinyGPT2(t *testing.T) {
	tok, err := Load(filepath.Dir(sharedFile(t, "tiny_gpt2", "vocab.json")))
	if err != nil {
		t.Fatal(err)
	}
	// "Ġlow" and "er" are merges of this vocabulary; x is not in it.
	if got, want := tok.Encode(" lower nx<|endoftext|>"), []int{14, 15, 10, 9, 19, 20}; !slices.Equal(got, want) {
		t.Errorf("ids %v, want %v", got, want)
	}
	if n := tok.VocabSize(); n != 21 {
		t.Errorf("vocabulary of %d, want 21", n)
	}
}

func TestLoadVocabText(t *testing.T) {
	dir := dirWith(t, map[string]string{
		"vocab.txt":             "[UNK]\r\nHello\r\n[X]\r\n",
		"tokenizer_config.json": `{"do_lower_case": false, "unk_token": {"content": "[UNK]"}, "added_tokens_decoder": {"2": {"content": "[X]", "special": true}}}`,
	})
	tok, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.Encode("Hello[X]hello"), []int{1, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("ids %v, want %v", got, want)
	}
}

const bpeJSON = `{"added_tokens": [], "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}, "decoder": {"type": "ByteLevel"},
 "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}}`

func TestMergesAsArrays(t *testing.T) {
	tok, err := parseHF([]byte(bpeJSON))
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("abxb"); !slices.Equal(got, []int{2, 1}) {
		t.Errorf("ids %v, want [2 1]: x is not in the vocabulary and there is no unknown token", got)
	}
}

func TestIgnoreMerges(t *testing.T) {
	tok, err := parseHF([]byte(`{"pre_tokenizer": {"type": "ByteLevel"}, "decoder": {"type": "ByteLevel"},
		"model": {"ignore_merges": true, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": []}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("ab"); !slices.Equal(got, []int{2}) {
		t.Errorf("ids %v, want [2]", got)
	}
}

func TestLoadErrors(t *testing.T) {
	edit := func(old, new string) map[string]string {
		if !strings.Contains(bpeJSON, old) {
			t.Fatalf("%q is not in the file", old)
		}
		return map[string]string{"tokenizer.json": strings.Replace(bpeJSON, old, new, 1)}
	}
	for _, c := range []struct {
		files map[string]string
		want  string
	}{
		{nil, "looked for tokenizer.json, vocab.json with merges.txt, and vocab.txt"},
		{map[string]string{"tokenizer.json": "{\n \"model\": ]"}, "line 2, column 11"},
		{map[string]string{"tokenizer.json": "{}"}, `no "model"`},
		{edit(`"type": "BPE"`, `"type": "Unigram"`), `model type "Unigram" is not supported`},
		{edit(`"b": 1`, `"b": 0`), `id 0 is both "a" and "b"`},
		{edit(`"b": 1`, `"a": 1`), `token "a" is listed twice`},
		{edit(`"b": 1`, `"b": -1`), "outside 0 to"},
		{edit(`"b": 1`, `"b": 99999999`), "outside 0 to"},
		{edit(`"b": 1`, `"b": "x"`), `id of token "b"`},
		{edit(`["a", "b"]`, `["a", "c"]`), `merge 0: "a" + "c": token "c" is not in the vocabulary`},
		{edit(`["a", "b"]`, `"a b", "a b"`), `merge 1: "a" + "b" is already merge 0`},
		{edit(`["a", "b"]`, `"ab"`), `merge 0: want two tokens`},
		{edit(`"merges"`, `"byte_fallback": true, "merges"`), "byte_fallback is not supported"},
		{edit(`"merges"`, `"unk_token": "?", "merges"`), `unknown token "?" is not in the vocabulary`},
		{edit(`"pre_tokenizer": {"type": "ByteLevel"`, `"pre_tokenizer": {"type": "Metaspace"`), `pre_tokenizer: type "Metaspace" is not supported`},
		{edit(`"added_tokens": []`, `"added_tokens": [{"id": 1, "content": "x"}]`), `id 1 is both "b" and "x"`},
		{edit(`"added_tokens": []`, `"added_tokens": [{"id": 5, "content": "a"}]`), `"a" has id 5, but 0`},
		{map[string]string{"vocab.json": `{"a": 0}`}, "has no merges.txt"},
		{map[string]string{"vocab.json": `{"a": 0}`, "merges.txt": "#version: 0.2\n\na b\n"}, `line 3: "a" + "b": token "b" is not in the vocabulary`},
		{map[string]string{"vocab.json": `{"a": 0}`, "merges.txt": "a\n"}, "line 1: want two tokens"},
		{map[string]string{"vocab.json": `{"a": 0}`, "merges.txt": "", "tokenizer_config.json": "?"}, "tokenizer_config.json: line 1"},
		{map[string]string{"vocab.json": `{"a": 0}`, "merges.txt": "", "tokenizer_config.json": `{"added_tokens_decoder": {"x": {}}}`}, `"x" is not an id`},
		{map[string]string{"vocab.txt": "[UNK]\na\na\n"}, `line 3: token "a" is listed twice`},
		{map[string]string{"vocab.txt": "[UNK]\n\na\n"}, "line 2 is empty"},
		{map[string]string{"vocab.txt": "a\n"}, `unknown token "[UNK]"`},
	} {
		_, err := Load(dirWith(t, c.files))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v:\nerror = %v\nwant    %s", c.files, err, c.want)
		}
		if got := errors.Is(err, ErrNotFound); got != (c.files == nil) {
			t.Errorf("%v: ErrNotFound = %v", c.files, got)
		}
	}
	file := filepath.Join(dirWith(t, map[string]string{"f": ""}), "f")
	for _, dir := range []string{file, file + "x"} {
		if _, err := Load(dir); err == nil {
			t.Errorf("Load(%s): no error", dir)
		}
	}
}

func TestLoadFile(t *testing.T) {
	path := filepath.Join(dirWith(t, map[string]string{"x.json": bpeJSON, "big": ""}), "x.json")
	if _, err := LoadFile(path); err != nil {
		t.Error(err)
	}
	big := filepath.Join(filepath.Dir(path), "big")
	if err := os.Truncate(big, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadFile(big); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("error = %v", err)
	}
}

func FuzzTokenizerJSON(f *testing.F) {
	f.Add([]byte(bpeJSON), "ab")
	var b bytes.Buffer
	_ = must(smallWordPiece(f).WriteTo(&b))
	f.Add(b.Bytes(), "hello [MASK]")
	f.Add([]byte(`{"model": {"vocab": {"a": 1e9}}}`), "")
	f.Add([]byte(`{"model": {"merges": [1,1]}}`), "")
	f.Add([]byte(`{"added_tokens": [{},{}], "model": {"merges": null, "vocab": null}}`), "")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		if tok, err := parseHF(data); err == nil {
			checkIDs(t, tok, text)
		}
	})
}

func FuzzGPT2Files(f *testing.F) {
	names := []byte(`{"a": 0, "b": 1, "ab": 2, "<unk>": 3}`)
	f.Add(names, []byte("#version: 0.2\na b\n"), []byte(`{"unk_token": {"content": "<unk>"}, "add_prefix_space": true}`), "abc")
	f.Add(names, []byte("a b\n"), []byte(`{"added_tokens_decoder": {"4": {"content": "<x>", "lstrip": true}}}`), "a <x> b")
	f.Fuzz(func(t *testing.T, names, rules, settings []byte, text string) {
		cfg, err := parseConfig(settings)
		if err != nil {
			return
		}
		var v vocab
		if decode(names, &v) != nil || v == nil {
			return
		}
		merges, _, err := parseMerges(rules)
		if err != nil {
			return
		}
		if tok, err := newGPT2(v, merges, cfg); err == nil {
			checkIDs(t, tok, text)
		}
	})
}

func FuzzVocabText(f *testing.F) {
	f.Add([]byte(smallVocab), []byte("{}"), "Hello, wörld")
	f.Add([]byte(smallVocab), []byte(`{"do_lower_case": false, "added_tokens_decoder": {"-1": {"content": "x"}}}`), "Hello, wörld")
	f.Fuzz(func(t *testing.T, data, settings []byte, text string) {
		cfg, err := parseConfig(settings)
		if err != nil {
			return
		}
		if tok, err := parseVocabText(data, cfg); err == nil {
			checkIDs(t, tok, text)
		}
	})
}

func checkIDs(t *testing.T, tok Tokenizer, text string) {
	ids := tok.Encode(text)
	for _, id := range ids {
		if id < 0 || id >= tok.VocabSize() {
			t.Fatalf("id %d is outside the vocabulary of %d", id, tok.VocabSize())
		}
	}
	tok.Decode(ids)
}
