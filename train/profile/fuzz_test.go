package profile

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"testing"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/parallel"
)

// FuzzLayers shows that times of layers that are read answer with numbers.
func FuzzLayers(f *testing.F) {
	for _, text := range []string{
		`{"schema":"galvani/layers/v1","update_seconds_per_element":1e-9,"shapes":[{"strategy":{"dp":1,"tp":1,"zero":0,"checkpoint":false},"points":[{"rows":1,"block":{"forward":1,"backward":2}},{"rows":4,"block":{"forward":3,"backward":5}}]}]}`,
		`{"schema":"galvani/layers/v1","shapes":[{"points":[{"rows":1},{"rows":1}]}]}`, `{"schema":"galvani/layers/v1","shapes":[{"points":[{"rows":0}]}]}`,
		`{"schema":"galvani/layers/v1","shapes":[{"strategy":{"dp":1,"tp":1},"points":[{"rows":1,"block":{"Forward":1e308}},{"rows":2}]}]}`,
		`{"schema":"galvani/layers/v1","shapes":[null]}`, `null`, `{`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseLayers(text)
		if err != nil {
			return
		}
		strategies := []parallel.Strategy{{DP: 1, TP: 1}}
		for _, s := range l.Shapes {
			strategies = append(strategies, s.Strategy)
		}
		for _, s := range strategies {
			for _, rows := range []int{1, 3, 1 << 20} {
				p, err := l.At(s, rows)
				if err != nil {
					continue
				}
				for _, x := range []float64{p.Block.Forward, p.Block.Backward, p.Embedding.Forward, p.Head.Backward} {
					if !(x >= 0) || math.IsInf(x, 1) {
						t.Fatalf("%d rows take %v s", rows, x)
					}
				}
			}
		}
	})
}

// FuzzSpec shows that what a coordinator asks for is within bounds.
func FuzzSpec(f *testing.F) {
	text, err := json.Marshal(Options{}.withDefaults().spec())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, text := range []string{`null`, `{"Threads":-1}`, `{"Threads":1,"Stream":1,"Plane":"pigeon"}`, `{"Threads":1,"Stream":1,"Sizes":[-4]}`, `{"Threads":1,"Stream":9223372036854775807}`, `{"Threads":1,"Stream":1,"Shapes":[{"Rows":0}]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := decodeSpec(text)
		if err != nil {
			return
		}
		for _, x := range s.Shapes {
			if x.Rows*x.In < 1 || x.In*x.Out > maxWidth*maxWidth {
				t.Fatalf("accepted %v", x)
			}
		}
	})
}

// FuzzTimes shows that what another rank measured makes a figure or an error.
func FuzzTimes(f *testing.F) {
	for _, times := range [][]float64{{1e-3, 2e-3}, {math.NaN()}, {math.Inf(1), 1}, {-1}, {0, 0}, {5e-324}, {1e308, 1e308}} {
		var text []byte
		for _, x := range times {
			text = binary.LittleEndian.AppendUint64(text, math.Float64bits(x))
		}
		f.Add(text, len(times))
	}
	s := &stand{spec: Options{}.withDefaults().spec()}
	f.Fuzz(func(t *testing.T, text []byte, n int) {
		if n < 1 || n > maxTurns {
			return // this rank's own
		}
		times, err := decodeTimes(text, n)
		if err != nil {
			return
		}
		if calls, turns := s.repetitions(times[0]); calls < 1 || calls > maxCalls || turns < 1 || turns > maxTurns {
			t.Fatalf("%d turns of %d calls", turns, calls)
		}
		if x := summarize(slowest([][]float64{times, times})); !(x.Seconds >= 0) || !(x.Spread >= 0) {
			t.Fatalf("%v make %v", times, x)
		}
	})
}

// FuzzFound shows that whatever workers report makes a cluster or an error.
func FuzzFound(f *testing.F) {
	good := found{
		Plane:     comm.TCP,
		Exchanges: []series{{"all_reduce", layout{2, 1}, []int64{1024, 4096}, []figure{{1e-3, 0.1}, {2e-3, 0.1}}}},
		Rates:     []rate{{"linear", "fp32", 1000, figure{1e-6, 0.1}}}, Bandwidth: figure{1e-2, 0.1}, Bytes: 1 << 20, Launch: figure{1e-6, 0},
		Overlap: overlap{figure{1, 0}, figure{1, 0}, figure{1.5, 0}},
	}
	text, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, text := range []string{`null`, `{}`, `{"Exchanges":[{"Kind":"send","Layout":{"Ranks":2,"Stride":1},"Times":[{}]}]}`, `{"Rates":[{"FLOPs":1}]}`, `{"Exchanges":[{"Kind":"rotate","Layout":{"Ranks":-2,"Stride":-1}}]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, workers := range []int{1, 2, 4} {
			if found, err := decodeFound(text, workers); err == nil {
				c := describe(found, key{Processor: "x", Threads: 1, Workers: workers}, 1<<30)
				if c.Validate() == nil && c.Devices() != workers {
					t.Fatalf("%d devices of %d workers", c.Devices(), workers)
				}
			}
		}
	})
}
