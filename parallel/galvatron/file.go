package galvatron

import (
	"fmt"
	"io"
	"io/fs"
	"math"
)

// Bounds of what files may tell. They are far above any problem's, and keep what
// is computed of them finite and its memory bounded.
const (
	maxFileBytes = 16 << 20
	maxDevices   = 1 << 16
	maxBatch     = 1 << 20 // samples
	maxSize      = 1 << 24 // of a width or a sequence
	maxMB        = 1 << 30
	maxSeconds   = 1e9
)

// readFile reads a file of at most maxFileBytes.
func readFile(dir fs.FS, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxFileBytes)
	}
	return data, err
}

// figures refuses seconds and MB that are negative or out of all proportion.
func figures(rows ...[]float64) error {
	for _, row := range rows {
		for _, x := range row {
			if !(x >= 0 && x <= math.Min(maxMB, maxSeconds)) {
				return fmt.Errorf("%v is neither a time nor a size: needs 0 to %g", x, math.Min(maxMB, maxSeconds))
			}
		}
	}
	return nil
}
