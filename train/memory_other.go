//go:build !linux

package train

import "runtime"

// residentBytes returns the memory that the Go runtime holds, the nearest
// there is where the system does not tell.
func residentBytes() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
