package program

import (
	"context"

	"github.com/galvani-ml/galvani/exec"
)

// Loopback answers every exchange of a rank at once, without others: it gives
// tensors of the right sizes and of numbers like those that others would send.
// So a program runs, and takes the time that it computes, on one rank alone;
// what it computes means nothing.
type Loopback struct{}

var _ exec.Comm = Loopback{}

// AllReduce leaves x as it is.
func (Loopback) AllReduce(ctx context.Context, _, _ string, _ []float32) error { return ctx.Err() }

// AllGather takes src for what every member has.
func (Loopback) AllGather(ctx context.Context, _, _ string, dst, src []float32) error {
	for len(dst) > 0 && len(src) > 0 {
		dst = dst[copy(dst, src):]
	}
	return ctx.Err()
}

// ReduceScatter takes the beginning of src for this rank's part of the sum.
func (Loopback) ReduceScatter(ctx context.Context, _, _ string, dst, src []float32) error {
	copy(dst, src)
	return ctx.Err()
}

// AllToAll takes src for what is received.
func (Loopback) AllToAll(ctx context.Context, _, _ string, dst, src []float32) error {
	copy(dst, src)
	return ctx.Err()
}

// Rotate takes src for what is received.
func (Loopback) Rotate(ctx context.Context, _, _ string, dst, src []float32, _ int) error {
	copy(dst, src)
	return ctx.Err()
}

// Send drops x.
func (Loopback) Send(ctx context.Context, _, _ int, _ exec.MicroBatch, _ string, _ []float32) error {
	return ctx.Err()
}

// Recv gives small numbers of both signs.
func (Loopback) Recv(ctx context.Context, _, _ int, _ exec.MicroBatch, _ string, x []float32) error {
	scatter(x, 0, 1)
	return ctx.Err()
}

// scatter fills x with numbers that lie evenly within spread of the mean.
func scatter(x []float32, mean, spread float64) {
	random := uint32(1)
	for i := range x {
		random = random*1664525 + 1013904223 // Knuth, The Art of Computer Programming, vol. 2, 3.3.4
		x[i] = float32(mean) + float32(spread)*(float32(random>>8)/(1<<23)-1)
	}
}
