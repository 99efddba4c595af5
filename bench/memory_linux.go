package bench

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// peakMemory returns the most bytes this process ever had resident: VmHWM of
// proc(5).
func peakMemory() int64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

// largestOf returns the most bytes that an ended process, or one it waited for,
// ever had resident; 0 if that is no more than this process, whose memory counts
// as that of a process it starts until that runs its own program.
func largestOf(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok || usage.Maxrss<<10 <= peakMemory() {
		return 0
	}
	return usage.Maxrss << 10
}
