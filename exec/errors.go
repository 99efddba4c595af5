package exec

import (
	"fmt"

	"github.com/galvani-ml/galvani/graph"
)

// CompileError says what in a stage could not be compiled.
type CompileError struct {
	Tag  graph.Tag // the operation; zero where Name is not an operation
	Name string    // kind of the operation, or name of a parameter or leaf
	Err  error
}

// Error gives the place and the fault.
func (e *CompileError) Error() string {
	if e.Tag == (graph.Tag{}) {
		return fmt.Sprintf("exec: compiling %s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("exec: compiling %v: %s: %v", e.Tag, e.Name, e.Err)
}

// Unwrap returns the fault.
func (e *CompileError) Unwrap() error { return e.Err }

// RunError says which instruction failed.
type RunError struct {
	MicroBatch
	Tag  graph.Tag
	Kind string // kind of the operation
	Err  error
}

// Error gives the step, the place and the fault.
func (e *RunError) Error() string {
	return fmt.Sprintf("exec: step %d, micro-batch %d, %v: %s: %v", e.Step, e.Index, e.Tag, e.Kind, e.Err)
}

// Unwrap returns the fault.
func (e *RunError) Unwrap() error { return e.Err }

// NonFiniteError says that a step's gradients are infinite or not a number. The
// parameters are as they were before the step.
type NonFiniteError struct {
	Step  int
	Param string  // first parameter with such a gradient on this rank; empty where another rank has it
	Loss  float64 // mean loss of the step
}

// Error names the parameter and what helps.
func (e *NonFiniteError) Error() string {
	where := "on another rank"
	if e.Param != "" {
		where = "of " + e.Param
	}
	return fmt.Sprintf("exec: step %d: the gradient %s is not finite (loss %g): lower the learning rate, or set a gradient clip", e.Step, where, e.Loss)
}
