package tokenizer

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestTrainIsTheObviousLoop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[ab]{1,6}|[a-c]{1,4}`), 1, 20).Draw(t, "words")
		opts := TrainOptions{
			VocabSize: 257 + rapid.IntRange(0, 40).Draw(t, "merges"), Special: []string{"[X]"},
			MinCount: rapid.IntRange(1, 3).Draw(t, "min count"),
		}
		text := strings.Join(words, " ") + "[X]"
		got := must(TrainBPE(slices.Values([]string{text}), opts))
		if diff := cmp.Diff(trainSlowly(text, opts), ruleText(got.merges)); diff != "" {
			t.Fatalf("merges (-reference +ours):\n%s", diff)
		}
	})
}

func ruleText(merges []merge) []string {
	var out []string
	for _, m := range merges {
		out = append(out, bytesOfName(m.left)+"|"+bytesOfName(m.right))
	}
	return out
}

// trainSlowly counts every pair anew before each merge.
func trainSlowly(text string, opts TrainOptions) []string {
	var words [][]string
	counts := countWords(slices.Values([]string{text}), newMatcher([]AddedToken{{Content: "[X]"}}))
	var weights []int
	for _, w := range slices.Sorted(maps.Keys(counts)) {
		words, weights = append(words, strings.Split(w, "")), append(weights, counts[w])
	}
	var rules []string
	tokens := map[string]bool{}
	for 257+len(tokens) < opts.VocabSize {
		pairs := map[[2]string]int{}
		for i, w := range words {
			for j := 1; j < len(w); j++ {
				pairs[[2]string{w[j-1], w[j]}] += weights[i]
			}
		}
		var best [2]string
		for p, n := range pairs {
			if m := pairs[best]; n > m || n == m && slices.Compare(p[:], best[:]) < 0 {
				best = p
			}
		}
		if pairs[best] < max(opts.MinCount, 1) {
			break
		}
		rules = append(rules, best[0]+"|"+best[1])
		tokens[best[0]+best[1]] = true
		for i, w := range words {
			for j := 1; j < len(w); j++ {
				if w[j-1] == best[0] && w[j] == best[1] {
					w = slices.Replace(w, j-1, j+1, best[0]+best[1])
				}
			}
			words[i] = w
		}
	}
	return rules
}

func TestTrainIgnoresOrder(t *testing.T) {
	texts := slices.Collect(ownSource())
	opts := TrainOptions{VocabSize: 400}
	a := must(Fingerprint(must(TrainBPE(slices.Values(texts), opts))))
	slices.Reverse(texts)
	if b := must(Fingerprint(must(TrainBPE(slices.Values(texts), opts)))); a != b {
		t.Error("the order of the texts changes the tokenizer")
	}
}

func TestTrainedVocabulary(t *testing.T) {
	bert := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
	bpe := must(TrainBPE(slices.Values([]string{"aaa aaa [MASK]"}), TrainOptions{VocabSize: 1000, Special: bert}))
	if id, ok := bpe.ID("[MASK]"); id != 4 || !ok {
		t.Errorf("ID([MASK]) = %d, %v; want 4", id, ok)
	}
	if got := bpe.Encode("[MASK]a"); !slices.Equal(got, []int{4, 5 + 'a'}) {
		t.Errorf("ids %v", got)
	}
	if n := bpe.VocabSize(); n >= 300 {
		t.Errorf("learned %d ids from two words", n)
	}
}

func TestTrainErrors(t *testing.T) {
	for want, opts := range map[string]TrainOptions{
		"vocabulary of 256 is outside 257": {VocabSize: 256, Special: []string{"x"}},
		"listed twice":                     {VocabSize: 300, Special: []string{"<s>", "<s>"}},
		"is a single byte":                 {VocabSize: 300, Special: []string{"a"}},
		"is empty":                         {VocabSize: 300, Special: []string{""}},
	} {
		if _, err := TrainBPE(slices.Values([]string{"text"}), opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
}
