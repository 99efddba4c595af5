package cluster

import (
	"math"
	"strings"
)

// Device is what computes: a GPU, or a worker on a CPU.
type Device struct {
	Name      string  `json:"name"`
	Memory    int64   `json:"memory"`    // bytes
	Bandwidth float64 `json:"bandwidth"` // of its memory, bytes/s
	Launch    float64 `json:"launch"`    // seconds that an operation costs beside its work
	Rates     []Rate  `json:"rates"`
}

// Rate is how fast a kind of operations computes.
type Rate struct {
	Kind      string  `json:"kind,omitempty"`      // as graph's operations; "" for any
	Precision string  `json:"precision,omitempty"` // fp32, bf16; "" for any
	FLOPs     int64   `json:"flops,omitempty"`     // of the one operation measured; 0 for any
	PerSecond float64 `json:"per_second"`          // FLOP/s
}

// Op is Count operations of one kind, with their work in all.
type Op struct {
	Kind  string // as graph's operations; "linear+activation" is a linear one that an activation was joined to
	Count int
	FLOPs int64
	Bytes int64 // read and written
}

// Time is the seconds that the operations take: Count launches, and the longer
// of computing and of reading and writing memory.
func (d *Device) Time(o Op, precision string) float64 {
	work := 0.0
	if o.Bytes > 0 {
		work = float64(o.Bytes) / d.Bandwidth
	}
	if rate := d.Rate(o, precision); o.FLOPs > 0 && rate > 0 {
		work = max(work, float64(o.FLOPs)/rate)
	}
	return float64(max(0, o.Count))*d.Launch + work
}

// Rate is the FLOP/s of operations: of their kind, then of the first kind of
// joined ones, then of any kind; in the precision, or else in any. Between
// sizes that were measured it is interpolated in logarithms, beyond them it is
// the nearest one's. It is 0 for a device without rates.
func (d *Device) Rate(o Op, precision string) float64 {
	first, _, _ := strings.Cut(o.Kind, "+")
	size := float64(o.FLOPs) / float64(max(1, o.Count))
	for _, kind := range []string{o.Kind, first, ""} {
		for _, p := range []string{precision, "", anyPrecision} {
			if rate := d.rate(kind, p, size); rate > 0 {
				return rate
			}
		}
	}
	return 0
}

// anyPrecision matches every rate's.
const anyPrecision = "*"

// rate interpolates between the nearest sizes below and above; 0 if there is no
// rate of the kind and precision.
func (d *Device) rate(kind, precision string, size float64) float64 {
	var general, below, above *Rate
	for i := range d.Rates {
		r := &d.Rates[i]
		if r.Kind != kind || precision != anyPrecision && r.Precision != precision {
			continue
		}
		switch at := float64(r.FLOPs); {
		case at == 0:
			general = r
		case at <= size:
			if below == nil || r.FLOPs > below.FLOPs {
				below = r
			}
		default:
			if above == nil || r.FLOPs < above.FLOPs {
				above = r
			}
		}
	}
	switch {
	case below != nil && above != nil:
		a, b := float64(below.FLOPs), float64(above.FLOPs)
		return below.PerSecond * math.Pow(above.PerSecond/below.PerSecond, math.Log(size/a)/math.Log(b/a))
	case below != nil:
		return below.PerSecond
	case above != nil:
		return above.PerSecond
	case general != nil:
		return general.PerSecond
	}
	return 0
}
