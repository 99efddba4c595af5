package bench

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// machineName is the processor, and how many threads are used.
func machineName(threads int) string {
	name := processorName()
	if name == "" {
		name = runtime.GOOS + "/" + runtime.GOARCH
	}
	return fmt.Sprintf("%s, %s", name, plural(threads, "thread"))
}

// processorName is the model that Linux tells, else empty.
func processorName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
