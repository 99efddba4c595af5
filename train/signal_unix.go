//go:build unix

package train

import (
	"os"
	"os/signal"
	"syscall"
)

// reportSignal gives a signal each time somebody asks by SIGUSR1 what the workers
// are at, until stop.
func reportSignal() (asked <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}
