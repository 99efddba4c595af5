package train

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes that reads and prints with a unit.
type Size int64

// UnmarshalText reads "200MiB", "1.5GB" or a number of bytes.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || int64(n) < 0 {
		return fmt.Errorf("%q is not a size, as 200MiB", text)
	}
	*s = Size(n)
	return nil
}

// MarshalText writes the exact size with its largest binary unit.
func (s Size) MarshalText() ([]byte, error) {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	n, unit := int64(s), 0
	for n != 0 && n%1024 == 0 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	return fmt.Appendf(nil, "%d%s", n, units[unit]), nil
}

// String gives the size rounded to three digits.
func (s Size) String() string { return humanize.IBytes(uint64(max(0, s))) }
