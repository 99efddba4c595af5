//go:build !linux

package bench

// peakMemory returns 0: only Linux tells a process its peak.
func peakMemory() int64 { return 0 }
