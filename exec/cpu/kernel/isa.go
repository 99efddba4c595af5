package kernel

import (
	"fmt"
	"os"
	"sync/atomic"
)

// ISA names an instruction set that the inner loops exist in.
type ISA string

// The instruction sets, best first.
const (
	AVX512  ISA = "avx512"  // AVX-512 F, BW, DQ and VL
	AVX2    ISA = "avx2"    // AVX2 and FMA
	Generic ISA = "generic" // portable Go
)

// EnvISA is the environment variable that forces an instruction set.
const EnvISA = "GALVANI_ISA"

// An ISAError says that an instruction set is unknown or that this processor
// lacks it.
type ISAError struct {
	ISA       ISA
	Available []ISA
}

func (e *ISAError) Error() string {
	return fmt.Sprintf("kernel: instruction set %q is not available on this processor: use one of %v (environment variable %s)", string(e.ISA), e.Available, EnvISA)
}

var (
	active   atomic.Pointer[inner]
	startErr error
)

func init() {
	if startErr = SetISA(ISA(os.Getenv(EnvISA))); startErr != nil {
		active.Store(available()[0])
	}
}

// StartError is the [ISAError] of a wrong GALVANI_ISA, nil if there was none. The
// best available set is in use then; a program reports the error and stops.
func StartError() error { return startErr }

// ISAs lists the instruction sets this processor has, best first.
func ISAs() []ISA {
	var isas []ISA
	for _, t := range available() {
		isas = append(isas, t.isa)
	}
	return isas
}

// ActiveISA is the instruction set in use.
func ActiveISA() ISA { return active.Load().isa }

// SetISA makes later kernel calls use an instruction set, the best for "". It
// must not be called while a kernel runs. The error is an [*ISAError].
func SetISA(isa ISA) error {
	in, err := lookup(isa)
	if err == nil {
		active.Store(in)
	}
	return err
}

// lookup finds the inner loops of an instruction set, the best for "".
func lookup(isa ISA) (*inner, error) {
	for _, t := range available() {
		if isa == t.isa || isa == "" {
			return t, nil
		}
	}
	return nil, &ISAError{isa, ISAs()}
}
