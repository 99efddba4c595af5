package models

import (
	"fmt"
	"hash/fnv"
	"math"

	"github.com/galvani-ml/galvani/graph"
)

// InitValue fills dst with the values that parameter p starts with, from
// element 0 on. Each is a function of the seed, p's name and Init, and the
// element's index alone: element e is normal number e%4 of block e/4, the
// blocks made by [graph.Philox] (key: seed; counter: block, hash of the name)
// and the method of Box and Muller: A Note on the Generation of Random Normal
// Deviates (1958).
func InitValue(p *graph.Param, seed uint64, dst []float32) {
	initRun(p, seed, 0, dst)
}

// InitShard fills dst, a shard of a parameter, with the values that InitValue
// gives these elements.
func InitShard(s *graph.Shard, seed uint64, dst []float32) error {
	runs, err := Runs(s.Param.Shape, s.Parts)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Param.Name, err)
	}
	rest := dst
	for offset, n := range runs {
		if n > len(rest) {
			return fmt.Errorf("models: %s: the shard is larger than its %d elements of memory", s.Param.Name, len(dst))
		}
		initRun(s.Param, seed, offset, rest[:n])
		rest = rest[n:]
	}
	return nil
}

// initRun fills dst with the elements from offset on.
func initRun(p *graph.Param, seed uint64, offset int, dst []float32) {
	if p.Init.Std == 0 {
		for i := range dst {
			dst[i] = float32(p.Init.Mean)
		}
		return
	}
	h := fnv.New64a()
	h.Write([]byte(p.Name))
	name := h.Sum64()
	key := [2]uint32{uint32(seed), uint32(seed >> 32)}
	for i := 0; i < len(dst); {
		block, lane := uint64(offset+i)/4, (offset+i)%4
		words := graph.Philox(key, [4]uint32{uint32(block), uint32(block >> 32), uint32(name), uint32(name >> 32)})
		deviates := normals(words)
		for _, z := range deviates[lane:min(4, lane+len(dst)-i)] {
			dst[i] = float32(p.Init.Mean + float64(p.Init.Std*z)) // the conversion keeps the product from being fused
			i++
		}
	}
}

// normals turns four random words into four independent normal deviates.
func normals(w [4]uint32) (z [4]float64) {
	for i := 0; i < 4; i += 2 {
		const scale = 1.0 / (1 << 32)
		radius := math.Sqrt(-2 * math.Log((float64(w[i])+0.5)*scale))
		sin, cos := math.Sincos(2 * math.Pi * float64(w[i+1]) * scale)
		z[i], z[i+1] = radius*cos, radius*sin
	}
	return z
}
