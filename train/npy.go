package train

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strings"
)

// writeNPY writes a float32 matrix in NumPy's file format, version 1.0
// (numpy.lib.format).
func writeNPY(path string, x []float32, rows, cols int) error {
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", rows, cols)
	const fixed = 6 + 2 + 2 // magic, version, header length
	pad := 64 - (fixed+len(header)+1)%64
	header += strings.Repeat(" ", pad) + "\n"
	file := []byte("\x93NUMPY\x01\x00")
	file = binary.LittleEndian.AppendUint16(file, uint16(len(header)))
	file = append(file, header...)
	for _, v := range x {
		file = binary.LittleEndian.AppendUint32(file, math.Float32bits(v))
	}
	return os.WriteFile(path, file, 0o666)
}
