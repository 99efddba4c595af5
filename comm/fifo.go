package comm

// fifo is a growing ring buffer. The zero value is an empty queue. Its memory is
// kept for reuse.
type fifo[T any] struct {
	ring []T // length is a power of two, or zero
	head int // index of the oldest
	n    int // how many are queued
}

func (q *fifo[T]) len() int { return q.n }

func (q *fifo[T]) push(v T) {
	if q.n == len(q.ring) {
		grown := make([]T, max(8, 2*len(q.ring)))
		for i := range q.n {
			grown[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
		}
		q.ring, q.head = grown, 0
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = v
	q.n++
}

// pop takes out the oldest; ok is false if there is none.
func (q *fifo[T]) pop() (v T, ok bool) {
	if q.n == 0 {
		return v, false
	}
	v, q.ring[q.head] = q.ring[q.head], v
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	return v, true
}

// peek returns the oldest of a queue that is not empty.
func (q *fifo[T]) peek() T { return q.ring[q.head] }
