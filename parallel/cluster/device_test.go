package cluster

import (
	"testing"

	"pgregory.net/rapid"
)

func TestDeviceTime(t *testing.T) {
	d := &machine().Device
	for _, x := range []struct {
		name      string
		op        Op
		precision string
		want      float64
	}{
		{"a size as measured", Op{"linear", 1, 1e8, 0}, "fp32", 2e-6 + 1e8/1e11},
		{"below the sizes measured", Op{"linear", 1, 10, 0}, "fp32", 2e-6 + 10/1e10},
		{"beyond the sizes measured", Op{"linear", 1, 1e10, 0}, "fp32", 2e-6 + 1e10/1e11},
		// 1e7 is half way from 1e6 to 1e8, and sqrt(1e10*1e11) half way between the rates.
		{"between in logarithms", Op{"linear", 1, 1e7, 0}, "fp32", 2e-6 + 1e7/3.1622776601683795e10},
		{"the size is one operation's", Op{"linear", 10, 1e8, 0}, "fp32", 20e-6 + 1e8/3.1622776601683795e10},
		{"first of a joined kind", Op{"linear+activation", 1, 1e8, 0}, "fp32", 2e-6 + 1e8/1e11},
		{"another precision", Op{"linear", 1, 1e8, 0}, "bf16", 2e-6 + 1e8/3e10},
		{"any kind", Op{"attention", 1, 1e8, 0}, "fp32", 2e-6 + 1e8/2e9},
		{"any kind in any precision", Op{"attention", 1, 1e8, 0}, "bf16", 2e-6 + 1e8/2e9},
		{"memory is slower", Op{"linear", 1, 1e8, 8e9}, "fp32", 2e-6 + 1},
		{"only memory", Op{"add", 3, 0, 8e9}, "fp32", 6e-6 + 1},
		{"nothing", Op{}, "fp32", 0},
	} {
		if got := d.Time(x.op, x.precision); !near(got, x.want) {
			t.Errorf("%s: %v, want %v", x.name, got, x.want)
		}
	}
	if got := (&Device{}).Time(Op{"linear", 1, 1e9, 0}, "fp32"); got != 0 {
		t.Errorf("a device without rates: %v", got)
	}
}

// A rate is never outside of those it is between.
func TestRateBetween(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &Device{}
		low, high := 1e24, 0.0
		for range rapid.IntRange(1, 6).Draw(t, "rates") {
			r := Rate{FLOPs: rapid.Int64Range(1, 1e15).Draw(t, "flops"), PerSecond: rapid.Float64Range(1e6, 1e15).Draw(t, "rate")}
			low, high = min(low, r.PerSecond), max(high, r.PerSecond)
			d.Rates = append(d.Rates, r)
		}
		got := d.Rate(Op{"linear", 1, rapid.Int64Range(0, 1e15).Draw(t, "size"), 0}, "bf16")
		if got < low*(1-1e-9) || got > high*(1+1e-9) {
			t.Fatalf("%v, rates from %v to %v", got, low, high)
		}
	})
}
