package tokenizer

import (
	"cmp"
	"slices"
	"strings"
)

const (
	cacheWords   = 1 << 16 // pre-tokens an encoder remembers
	cacheWordLen = 64      // longer ones are not worth it
)

// encoder merges pre-tokens. It is the state of one Encode call and is reused by later ones.
type encoder struct {
	bpe   *BPE
	cache map[string][]int
	nodes []node
	queue queue
}

// node is a token in the list of those that make up a pre-token. One that was merged into its left
// neighbour has id -1.
type node struct{ id, prev, next int32 }

// candidate is a merge that may be done at a position.
type candidate struct {
	step
	pos  int32
	pair pair
}

// append appends the ids of one pre-token.
func (e *encoder) append(ids []int, word string) []int {
	if known, ok := e.cache[word]; ok {
		return append(ids, known...)
	}
	from := len(ids)
	ids = e.appendMerged(ids, word)
	if len(word) <= cacheWordLen && len(e.cache) < cacheWords {
		e.cache[strings.Clone(word)] = slices.Clone(ids[from:])
	}
	return ids
}

// appendMerged applies the merge of the lowest rank, the leftmost of those, until none applies. With a
// queue of candidates that takes O(n log n) steps for n bytes.
func (e *encoder) appendMerged(ids []int, word string) []int {
	if e.bpe.options.ignoreMerges {
		if id, ok := e.bpe.vocab[nameOfBytes(word)]; ok {
			return append(ids, id)
		}
	}
	e.load(word)
	for len(e.queue) > 0 {
		c := e.queue.pop()
		left := &e.nodes[c.pos]
		if left.id != c.pair.left || left.next < 0 || e.nodes[left.next].id != c.pair.right {
			continue // one of the two was merged meanwhile
		}
		right := &e.nodes[left.next]
		right.id, left.id, left.next = -1, c.id, right.next
		if left.next >= 0 {
			e.nodes[left.next].prev = c.pos
		}
		e.propose(left.prev)
		e.propose(c.pos)
	}
	for _, n := range e.nodes {
		if n.id >= 0 {
			ids = append(ids, int(n.id))
		}
	}
	return ids
}

// load lists the tokens of the single bytes of word and queues the merges among them.
func (e *encoder) load(word string) {
	e.nodes, e.queue = e.nodes[:0], e.queue[:0]
	for i := range len(word) {
		if id := e.bpe.byByte[word[i]]; id >= 0 {
			n := int32(len(e.nodes))
			e.nodes = append(e.nodes, node{id, n - 1, n + 1})
		}
	}
	if n := len(e.nodes); n > 0 {
		e.nodes[n-1].next = -1
	}
	for i := range e.nodes {
		e.propose(int32(i))
	}
}

// propose queues the merge of the token at pos with its right neighbour, if there is one.
func (e *encoder) propose(pos int32) {
	if pos < 0 || e.nodes[pos].next < 0 {
		return
	}
	p := pair{e.nodes[pos].id, e.nodes[e.nodes[pos].next].id}
	if s, ok := e.bpe.byPair[p]; ok {
		e.queue.push(candidate{s, pos, p})
	}
}

// queue is a binary heap: the lowest rank first, then the leftmost.
type queue []candidate

func (q queue) less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].rank, q[j].rank), cmp.Compare(q[i].pos, q[j].pos)) < 0
}

func (q *queue) push(c candidate) {
	*q = append(*q, c)
	h := *q
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h.less(i, up) {
			return
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (q *queue) pop() candidate {
	h := *q
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	*q = h
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(h) {
			return top
		}
		if down+1 < len(h) && h.less(down+1, down) {
			down++
		}
		if !h.less(down, i) {
			return top
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
}
