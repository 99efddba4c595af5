package tokenizer

import (
	"cmp"
	"container/heap"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// TrainOptions say what [TrainBPE] learns.
type TrainOptions struct {
	VocabSize int      // ids, special tokens and the 256 bytes included
	Special   []string // special tokens; they get the first ids, in this order
	MinCount  int      // a pair seen less often is not merged; 0 means 2
}

// TrainBPE learns a byte-level BPE from texts (Sennrich et al. 2016): it counts pre-tokens, then merges
// the most frequent pair of neighbouring tokens again and again, ties going to the pair that comes first
// in byte order. Ids are: special tokens, the 256 bytes in order, merges in order. Equal texts in any
// order give an equal tokenizer. It may learn fewer tokens than asked for when pairs run out.
func TrainBPE(texts iter.Seq[string], opts TrainOptions) (*BPE, error) {
	if least := len(opts.Special) + 256; opts.VocabSize < least || opts.VocabSize > maxVocab {
		return nil, fmt.Errorf("tokenizer: train: vocabulary of %d is outside %d (bytes and special tokens) to %d",
			opts.VocabSize, least, maxVocab)
	}
	v, added := vocab{}, []AddedToken{}
	for i, s := range opts.Special {
		added = append(added, AddedToken{ID: i, Content: s, Special: true})
	}
	if err := register(v, added); err != nil {
		return nil, fmt.Errorf("tokenizer: train: %w", err)
	}
	t := newTrainer(countWords(texts, newMatcher(added)), opts)
	for id := len(opts.Special); id < len(t.texts); id++ {
		name := nameOfBytes(t.texts[id])
		if _, taken := v[name]; taken {
			return nil, fmt.Errorf("tokenizer: train: special token %q is a single byte", name)
		}
		v[name] = id
	}
	bpe, err := newBPE(v, t.learn(v), added, bpeOptions{})
	if err != nil {
		return nil, fmt.Errorf("tokenizer: train: %w", err)
	}
	return bpe, nil
}

// countWords counts pre-tokens outside added tokens.
func countWords(texts iter.Seq[string], m *matcher) map[string]int {
	counts := map[string]int{}
	for text := range texts {
		for part, id := range m.split(text) {
			for id < 0 && part != "" {
				n := preToken(part)
				counts[part[:n]]++
				part = part[n:]
			}
		}
	}
	return counts
}

// trainer holds the words as token ids and, for every pair of neighbours, how often it occurs and in
// which words, so that a merge only touches words that have the pair.
type trainer struct {
	size, minCount int
	texts          []string // by id
	words          []word
	counts         map[pair]int
	where          map[pair][]int32 // indices of words; some may have lost the pair since
	best           pairHeap
}

type word struct {
	ids   []int32
	count int
}

func newTrainer(counts map[string]int, opts TrainOptions) *trainer {
	t := &trainer{
		size: opts.VocabSize, minCount: cmp.Or(opts.MinCount, 2),
		texts:  slices.Clone(opts.Special),
		counts: map[pair]int{}, where: map[pair][]int32{},
	}
	for b := range 256 {
		t.texts = append(t.texts, string([]byte{byte(b)}))
	}
	for _, text := range slices.Sorted(maps.Keys(counts)) {
		w := word{count: counts[text], ids: make([]int32, len(text))}
		for i := range len(text) {
			w.ids[i] = int32(len(opts.Special) + int(text[i]))
		}
		t.words = append(t.words, w)
		index := int32(len(t.words) - 1)
		t.count(t.counts, index, 1)
		t.note(index, func(pair) bool { return true })
	}
	t.best.trainer = t
	for p, n := range t.counts {
		t.best.list = append(t.best.list, ranked{p, n})
	}
	heap.Init(&t.best)
	return t
}

// count adds the pairs of a word to counts, times sign.
func (t *trainer) count(counts map[pair]int, index int32, sign int) {
	w := t.words[index]
	for i := 1; i < len(w.ids); i++ {
		counts[pair{w.ids[i-1], w.ids[i]}] += sign * w.count
	}
}

// note records that a word has those of its pairs that are new to it.
func (t *trainer) note(index int32, isNew func(pair) bool) {
	ids := t.words[index].ids
	for i := 1; i < len(ids); i++ {
		p := pair{ids[i-1], ids[i]}
		if list := t.where[p]; isNew(p) && (len(list) == 0 || list[len(list)-1] != index) {
			t.where[p] = append(list, index)
		}
	}
}

// learn merges until the vocabulary is full or no pair is frequent enough, and enters the tokens in v.
func (t *trainer) learn(v vocab) []merge {
	var merges []merge
	for len(t.texts) < t.size {
		p, ok := t.next()
		if !ok {
			break
		}
		left, right := t.texts[p.left], t.texts[p.right]
		merges = append(merges, merge{nameOfBytes(left), nameOfBytes(right)})
		id, known := v[nameOfBytes(left+right)]
		if !known { // two pairs can spell the same token, as "a"+"aa" and "aa"+"a"
			id = len(t.texts)
			v[nameOfBytes(left+right)] = id
			t.texts = append(t.texts, left+right)
		}
		t.apply(p, int32(id))
	}
	return merges
}

// next takes the most frequent pair. Counts in the heap may be out of date; they are put right here.
func (t *trainer) next() (pair, bool) {
	for t.best.Len() > 0 {
		top := heap.Pop(&t.best).(ranked)
		n := t.counts[top.pair]
		if n == top.count && n >= t.minCount {
			return top.pair, true
		}
		if n != top.count && n >= t.minCount {
			heap.Push(&t.best, ranked{top.pair, n})
		}
	}
	return pair{}, false
}

// apply replaces p by id in every word that has it and brings the counts up to date.
func (t *trainer) apply(p pair, id int32) {
	change := map[pair]int{}
	list := t.where[p]
	delete(t.where, p)
	for _, index := range list {
		w := &t.words[index]
		if !contains(w.ids, p) {
			continue
		}
		t.count(change, index, -1)
		w.ids = replace(w.ids, p, id)
		t.count(change, index, 1)
		t.note(index, func(q pair) bool { return q.left == id || q.right == id })
	}
	for q, d := range change {
		if t.counts[q] += d; t.counts[q] <= 0 {
			delete(t.counts, q)
		} else if d > 0 {
			heap.Push(&t.best, ranked{q, t.counts[q]})
		}
	}
}

func contains(ids []int32, p pair) bool {
	for i := 1; i < len(ids); i++ {
		if ids[i-1] == p.left && ids[i] == p.right {
			return true
		}
	}
	return false
}

// replace rewrites ids in place, from left to right.
func replace(ids []int32, p pair, id int32) []int32 {
	out := ids[:0]
	for i := 0; i < len(ids); i++ {
		if i+1 < len(ids) && ids[i] == p.left && ids[i+1] == p.right {
			out = append(out, id)
			i++
		} else {
			out = append(out, ids[i])
		}
	}
	return out
}

// ranked is a pair with its count when it was queued.
type ranked struct {
	pair
	count int
}

// pairHeap has the highest count on top, then the pair that is first in byte order.
type pairHeap struct {
	trainer *trainer
	list    []ranked
}

func (h *pairHeap) Len() int      { return len(h.list) }
func (h *pairHeap) Swap(i, j int) { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *pairHeap) Push(x any)    { h.list = append(h.list, x.(ranked)) }

func (h *pairHeap) Less(i, j int) bool {
	a, b, texts := h.list[i], h.list[j], h.trainer.texts
	return cmp.Or(cmp.Compare(b.count, a.count),
		cmp.Compare(texts[a.left], texts[b.left]), cmp.Compare(texts[a.right], texts[b.right])) < 0
}

func (h *pairHeap) Pop() any {
	last := h.list[len(h.list)-1]
	h.list = h.list[:len(h.list)-1]
	return last
}
