package tokenizer

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const smallVocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n,\n!\n##ing\nplay\n##ed\n中\n文\ne\n##e\ncafe\n'\ns\n##s\n.\n"

func smallWordPiece(t testing.TB) *WordPiece {
	t.Helper()
	w, err := parseVocabText([]byte(smallVocab), config{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func names(t *WordPiece, ids []int) string {
	var out []string
	for _, id := range ids {
		out = append(out, t.names[id])
	}
	return strings.Join(out, " ")
}

func TestWordPiece(t *testing.T) {
	w := smallWordPiece(t)
	for text, want := range map[string]string{
		"Hello, world!":                 "hello , world !",
		"HELLO\u00a0world\u200d":        "hello world",
		"playing played plays playzzz":  "play ##ing play ##ed play ##s [UNK]",
		"中文world":                       "中 文 world",
		"Café cafe\u0301":               "cafe cafe",
		"[CLS] hello[MASK] [sep]":       "[CLS] hello [MASK] [UNK] [UNK] [UNK]",
		"e" + strings.Repeat("e", 100):  "[UNK]",
		"e" + strings.Repeat("e", 2):    "e ##e ##e",
		"\x00\ufffd\t\n \u2028":         "",
		"hello's":                       "hello ' s",
		"wor\x00ld":                     "world",
		string([]byte{0xff, 'e', 0xfe}): "e",
	} {
		if got := names(w, w.Encode(text)); got != want {
			t.Errorf("Encode(%q) = %s, want %s", text, got, want)
		}
	}
}

func TestWordPieceDecode(t *testing.T) {
	w := smallWordPiece(t)
	ids := w.Encode("Hello, playing world's!")
	const want = "hello, playing world's!"
	// Hugging Face cleans token by token, so a lone apostrophe keeps the space before it.
	const wantHF = "hello, playing world ' s!"
	if got := w.Decode(ids); got != wantHF {
		t.Errorf("Decode = %q, want %q (not %q)", got, wantHF, want)
	}
	stream, got := NewStream(w), ""
	for _, id := range ids {
		got += stream.Push(id)
	}
	if got != wantHF {
		t.Errorf("streamed %q, want %q", got, wantHF)
	}
	if got := w.Decode([]int{-1, 999}); got != "" {
		t.Errorf("ids outside the vocabulary give %q", got)
	}
}

func TestWordPieceCased(t *testing.T) {
	no := false
	w := must(parseVocabText([]byte("[UNK]\nHello\nÉ\nİ\n"), config{DoLowerCase: &no}))
	if got := names(w, w.Encode("Hello É hello İ")); got != "Hello É [UNK] İ" {
		t.Errorf("cased: %s", got)
	}
	if got, want := lower("İA"), "i\u0307a"; got != want {
		t.Errorf("lower = %q, want %q", got, want)
	}
}

// The ids are those of bert-base-uncased.
func TestBertBaseUncased(t *testing.T) {
	data := must(os.ReadFile(sharedFile(t, "bert-base-uncased-vocab.txt")))
	w := must(parseVocabText(data, config{}))
	if n := w.VocabSize(); n != 30522 {
		t.Errorf("vocabulary of %d, want 30522", n)
	}
	if got, want := w.SpecialIDs(), []int{0, 100, 101, 102, 103}; !slices.Equal(got, want) {
		t.Errorf("special ids %v, want %v", got, want)
	}
	for text, want := range map[string][]int{
		"Hello, world!":                    {7592, 1010, 2088, 999},
		"hello world":                      {7592, 2088},
		"The capital of France is [MASK].": {1996, 3007, 1997, 2605, 2003, 103, 1012},
	} {
		if got := w.Encode(text); !slices.Equal(got, want) {
			t.Errorf("Encode(%q) = %v, want %v", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"unaffable tokenization": "una ##ffa ##ble token ##ization",
		"Héllo, naïve résumé 中国": "hello , naive resume 中 国",
		"don't embeddings":       "don ' t em ##bed ##ding ##s",
	} {
		if got := names(w, w.Encode(text)); got != want {
			t.Errorf("Encode(%q) = %s, want %s", text, got, want)
		}
	}
}
