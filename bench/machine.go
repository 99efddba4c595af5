package bench

import (
	"fmt"

	"github.com/galvani-ml/galvani/exec/cpu/probe"
)

// machineName is the processor, and how many threads are used.
func machineName(threads int) string {
	return fmt.Sprintf("%s, %s", probe.Processor(), plural(threads, "thread"))
}
