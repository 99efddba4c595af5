//go:build !linux

package bench

import "os"

// peakMemory returns 0: only Linux tells a process its peak.
func peakMemory() int64 { return 0 }

// largestOf returns 0, as the unit differs between systems.
func largestOf(*os.ProcessState) int64 { return 0 }
