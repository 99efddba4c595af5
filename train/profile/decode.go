package profile

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/parallel/cluster"
)

// Bounds of what a coordinator may ask to be measured.
const (
	maxThreads = 1 << 12
	maxEntries = 1 << 8       // of a list
	maxWidth   = 1 << 15      // of a linear layer
	maxStream  = 256 << 20    // elements of a vector
	maxWindow  = time.Hour    // of a figure
	maxSeconds = float64(1e6) // of a figure
)

// decodeSpec reads what a coordinator asks for.
func decodeSpec(text []byte) (spec, error) {
	var s spec
	if err := json.Unmarshal(text, &s); err != nil {
		return s, err
	}
	if s.Threads < 1 || s.Threads > maxThreads || s.Window < 0 || s.Window > maxWindow || s.Stream < 1 || s.Stream > maxStream {
		return s, fmt.Errorf("%d threads, %v a figure, vectors of %d elements: this version measures with up to %d, %v and %d",
			s.Threads, s.Window, s.Stream, maxThreads, maxWindow, maxStream)
	}
	if _, err := comm.ParsePlane(string(cmp.Or(s.Plane, comm.NATS))); err != nil {
		return s, err
	}
	if len(s.Sizes) > maxEntries || len(s.Shapes) > maxEntries {
		return s, fmt.Errorf("%d sizes and %d shapes: this version measures up to %d", len(s.Sizes), len(s.Shapes), maxEntries)
	}
	for _, n := range s.Sizes {
		if n < 4 || n > maxLargest {
			return s, fmt.Errorf("an exchange of %d bytes: this version measures 4 to %d", n, maxLargest)
		}
	}
	for _, x := range s.Shapes {
		if min(x.Rows, x.In, x.Out) < 1 || max(x.Rows, x.In, x.Out) > maxWidth {
			return s, fmt.Errorf("a product of %d x %d by %[2]d x %[3]d: this version measures up to %d", x.Rows, x.In, x.Out, maxWidth)
		}
	}
	return s, nil
}

// decodeFound reads what so many workers have found.
func decodeFound(text []byte, workers int) (*found, error) {
	f := &found{}
	if err := json.Unmarshal(text, f); err != nil {
		return nil, err
	}
	if _, err := comm.ParsePlane(string(f.Plane)); err != nil {
		return nil, err
	}
	figures := []figure{f.Bandwidth, f.Launch, f.Overlap.Compute, f.Overlap.Exchange, f.Overlap.Both}
	for _, r := range f.Rates {
		figures = append(figures, r.Time)
		if r.FLOPs < 1 {
			return nil, fmt.Errorf("an operation %.100q of %d FLOPs", r.Kind, r.FLOPs)
		}
	}
	for _, s := range f.Exchanges {
		figures = append(figures, s.Times...)
		if !slices.Contains(cluster.Kinds(), s.Kind) || !s.Layout.of(workers) || len(s.Times) != len(s.Bytes) {
			return nil, fmt.Errorf("%d times of %d exchanges %.100q of groups %v of %d workers", len(s.Times), len(s.Bytes), s.Kind, s.Layout, workers)
		}
		if slices.ContainsFunc(s.Bytes, func(n int64) bool { return n < 1 }) {
			return nil, fmt.Errorf("exchanges %q of %v bytes", s.Kind, s.Bytes)
		}
	}
	for _, x := range figures {
		if !(min(x.Seconds, x.Spread) >= 0 && max(x.Seconds, x.Spread) <= maxSeconds) {
			return nil, fmt.Errorf("a figure of %v s, spread %v", x.Seconds, x.Spread)
		}
	}
	if f.Bytes < 0 {
		return nil, errors.New("a negative number of bytes")
	}
	return f, nil
}

// decodeTimes reads n times in seconds that another rank measured.
func decodeTimes(text []byte, n int) ([]float64, error) {
	if len(text) != 8*n {
		return nil, fmt.Errorf("%d bytes of times, this rank has %d", len(text), 8*n)
	}
	times := make([]float64, n)
	for i := range times {
		times[i] = math.Float64frombits(binary.LittleEndian.Uint64(text[8*i:]))
		if !(times[i] >= 0 && times[i] <= maxSeconds) {
			return nil, fmt.Errorf("a time of %v s", times[i])
		}
	}
	return times, nil
}

// of reports whether so many workers can form the layout.
func (l layout) of(workers int) bool {
	return l.Ranks >= 2 && l.Ranks <= workers && l.Stride >= 1 && l.Stride <= workers && workers%(l.Ranks*l.Stride) == 0
}
