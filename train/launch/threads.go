package launch

import "runtime"

// Threads is how many threads each of so many workers of this machine has: an
// equal share of those that this process may use, at least one.
func Threads(workers int) int { return max(1, runtime.GOMAXPROCS(0)/workers) }
