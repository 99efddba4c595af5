package profile

import (
	"cmp"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/train/launch"
)

// Options say what to measure. The zero value measures two workers over an
// embedded server, or takes what is cached of them.
type Options struct {
	Workers int           // worker processes on this machine; default 2
	Plane   comm.Plane    // the data plane to measure; default [comm.Auto], as jobs have it
	NATS    string        // URL of a server; empty to start one
	Network string        // names the network that the workers are in, where it is not the machine's own; what is kept holds for it alone
	Largest int64         // bytes of the largest exchange; default 16 MiB
	Window  time.Duration // that each figure takes, about; default 60 ms
	Fresh   bool          // measure even if there is a result
	Cache   string        // directory for results; default galvani/profiles in the user's cache
	Version string        // of this program; workers must be of the same
	// Say tells a person how it goes: a word and a text. Nil is silent.
	Say func(name, text string)
}

func (o Options) say(name, text string) {
	if o.Say != nil {
		o.Say(name, text)
	}
}

func (o Options) withDefaults() Options {
	o.Workers = cmp.Or(o.Workers, 2)
	o.Plane = cmp.Or(o.Plane, comm.Auto)
	o.Largest = cmp.Or(o.Largest, 16<<20)
	o.Window = cmp.Or(o.Window, 60*time.Millisecond)
	return o
}

// maxLargest is what a tensor's size in elements may be at most, in bytes.
const maxLargest = 1 << 30

func (o Options) check() error {
	switch {
	case o.Workers < 1:
		return fmt.Errorf("profile: --workers %d: must be at least 1", o.Workers)
	case o.Largest < firstBytes || o.Largest > maxLargest:
		return fmt.Errorf("profile: --largest %s: must be 1 KiB to 1 GiB", humanize.IBytes(uint64(max(o.Largest, 0))))
	case o.Window < 0:
		return fmt.Errorf("profile: --window %v: must not be negative", o.Window)
	}
	return nil
}

// spec is what the workers are to measure.
func (o Options) spec() spec {
	return spec{Threads: launch.Threads(o.Workers), Plane: o.Plane, Sizes: sizesTo(o.Largest), Window: o.Window, Shapes: shapes, Stream: streamElements}
}
