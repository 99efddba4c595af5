package tokenizer

import (
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dlclark/regexp2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var gpt2Pattern = regexp2.MustCompile(`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, regexp2.None)

// pieces is a text that is rich in what the pattern tells apart.
func pieces() *rapid.Generator[string] {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u2028", "\u3000", "'", "'s", "'ll", "'re", "'v", "'D",
			"a", "Ab", "é", "e\u0301", "中", "1", "²", "٣", "Ⅷ", "_", "!?", "😀", "\x00", "\ufffd", "<|endoftext|>", "\x1c", "\x85"}),
		rapid.String(),
		rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "bytes")) }),
	)
	return rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "") })
}

func TestPreTokenIsTheRegularExpression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := pieces().Draw(t, "text")
		var got, want []string
		for rest := text; rest != ""; {
			n := preToken(rest)
			got, rest = append(got, rest[:n]), rest[n:]
		}
		var offsets []int // of characters, in bytes
		for i := range text {
			offsets = append(offsets, i)
		}
		offsets = append(offsets, len(text))
		for m, err := gpt2Pattern.FindStringMatch(text); m != nil; m, err = gpt2Pattern.FindNextMatch(m) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, text[offsets[m.Index]:offsets[m.Index+m.Length]])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("pre-tokens of %q (-regexp +ours):\n%s", text, diff)
		}
	})
}

// smallBPE is trained on this package's own source.
var smallBPE = sync.OnceValue(func() *BPE {
	return must(TrainBPE(ownSource(), TrainOptions{VocabSize: 600, Special: []string{"<|endoftext|>"}}))
})

func ownSource() func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, name := range []string{"bpe.go", "merge.go", "train.go"} {
			if !yield(string(must(os.ReadFile(name)))) {
				return
			}
		}
	}
}

func TestBPERoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := pieces().Draw(t, "text")
		bpe := smallBPE()
		ids := bpe.Encode(text)
		if got := bpe.Decode(ids); got != text {
			t.Fatalf("Decode(Encode(%q)) = %q", text, got)
		}
		stream, got := NewStream(bpe), ""
		for _, id := range ids {
			got += stream.Push(id)
		}
		if got += stream.Flush(); got != text {
			t.Fatalf("streamed %q, want %q", got, text)
		}
	})
}

func TestMergeIsTheObviousLoop(t *testing.T) {
	bpe := smallBPE()
	alphabet := rapid.SampledFrom([]string{"func", "e", "r", " ", "return", "\t", "id", "s", "(", "ö"})
	rapid.Check(t, func(t *rapid.T) {
		word := strings.Join(rapid.SliceOfN(alphabet, 1, 30).Draw(t, "word"), "")
		got := (&encoder{bpe: bpe}).appendMerged(nil, word)
		if want := mergeSlowly(bpe, word); !slices.Equal(got, want) {
			t.Fatalf("%q: ids %v, want %v", word, got, want)
		}
	})
}

// mergeSlowly looks for the best merge anew each time.
func mergeSlowly(t *BPE, word string) []int {
	var ids []int
	for i := range len(word) {
		ids = append(ids, int(t.byByte[word[i]]))
	}
	for {
		best, at := step{rank: 1 << 30}, -1
		for i := 1; i < len(ids); i++ {
			if s, ok := t.byPair[pair{int32(ids[i-1]), int32(ids[i])}]; ok && s.rank < best.rank {
				best, at = s, i-1
			}
		}
		if at < 0 {
			return ids
		}
		ids = slices.Replace(ids, at, at+2, int(best.id))
	}
}

func TestLongPreTokenIsNotQuadratic(t *testing.T) {
	text := strings.Repeat("=", 1<<20)
	if got := smallBPE().Decode(smallBPE().Encode(text)); got != text {
		t.Error("a megabyte of one character does not survive")
	}
}

func TestCutKeepsIDs(t *testing.T) {
	tokenizers := map[string]interface {
		Tokenizer
		Cutter
	}{"bpe": smallBPE(), "wordpiece": smallWordPiece(t)}
	for name, tok := range tokenizers {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			text := pieces().Draw(t, "a") + "x\n" + pieces().Draw(t, "b")
			near := rapid.IntRange(0, len(text)).Draw(t, "near")
			at := tok.Cut(text, near)
			if at < near || at > len(text) {
				t.Fatalf("Cut(%q, %d) = %d", text, near, at)
			}
			got := append(tok.Encode(text[:at]), tok.Encode(text[at:])...)
			if want := tok.Encode(text); !slices.Equal(got, want) {
				t.Fatalf("cut %q at %d: ids %v, want %v", text, at, got, want)
			}
		}))
	}
	if got := smallBPE().Cut("ab\ncd\n\nef", 3); got != 5 {
		t.Errorf("Cut = %d, want 5", got)
	}
}

func TestEncodeConcurrently(t *testing.T) {
	bpe := smallBPE()
	text := string(must(os.ReadFile("bpe.go")))
	want := bpe.Encode(text)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if !slices.Equal(bpe.Encode(text), want) {
				t.Error("ids differ between goroutines")
			}
		})
	}
	wg.Wait()
}

func TestGPT2(t *testing.T) {
	bpe := gpt2(t)
	for _, c := range []struct {
		text string
		ids  []int
	}{
		{"Hello world", []int{15496, 995}},
		{"Hello world<|endoftext|>", []int{15496, 995, 50256}},
		{"", []int{}},
	} {
		if got := bpe.Encode(c.text); !slices.Equal(got, c.ids) {
			t.Errorf("Encode(%q) = %v, want %v", c.text, got, c.ids)
		}
	}
	text := string(must(os.ReadFile(sharedFile(t, "tinyshakespeare.txt"))))
	ids := bpe.Encode(text)
	if len(ids) != 338025 {
		t.Errorf("tinyshakespeare has %d tokens, want 338025", len(ids))
	}
	if bpe.Decode(ids) != text {
		t.Error("tinyshakespeare does not survive a round trip")
	}
}

func TestOptions(t *testing.T) {
	base := smallBPE()
	build := func(o bpeOptions, added ...AddedToken) *BPE {
		v := vocab{}
		for name, id := range base.vocab {
			v[name] = id
		}
		return must(newBPE(v, base.merges, append(slices.Clone(base.added), added...), o))
	}
	if got, want := build(bpeOptions{addPrefixSpace: true}).Encode("func"), base.Encode(" func"); !slices.Equal(got, want) {
		t.Errorf("add_prefix_space: ids %v, want %v", got, want)
	}
	if whole := build(bpeOptions{wholeText: true}); whole.Decode(whole.Encode("a b")) != "a b" || whole.Cut("a\nb", 0) != 3 {
		t.Error("a text without pre-tokens is not one piece")
	}
	mask := AddedToken{ID: 600, Content: "[M]", LStrip: true, RStrip: true, Special: true}
	alone := AddedToken{ID: 601, Content: "zq", SingleWord: true}
	bpe := build(bpeOptions{}, mask, alone)
	for text, want := range map[string][]string{
		"a  [M]\tb":   {"a", "[M]", "b"},
		"[M][M]":      {"[M]", "[M]"},
		"zq zqx _zq,": {"zq", " zqx _zq,"},
	} {
		var got []string
		for part, id := range bpe.matcher.split(text) {
			if id == mask.ID {
				part = "[M]"
			}
			got = append(got, part)
		}
		if !slices.Equal(got, want) {
			t.Errorf("split(%q) = %q, want %q", text, got, want)
		}
	}
	if got, want := bpe.SpecialIDs(), []int{0, 600}; !slices.Equal(got, want) {
		t.Errorf("SpecialIDs() = %v, want %v", got, want)
	}
}
