package train

import (
	"bytes"
	"encoding/binary"
	"fmt"
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
	var b bytes.Buffer
	b.WriteString("\x93NUMPY\x01\x00")
	binary.Write(&b, binary.LittleEndian, uint16(len(header)))
	b.WriteString(header)
	binary.Write(&b, binary.LittleEndian, x)
	return os.WriteFile(path, b.Bytes(), 0o666)
}
