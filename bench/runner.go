package bench

// Runner is one side of a comparison, ready to train.
type Runner interface {
	// Step runs one training step and returns the loss before its update.
	Step() (loss float64, err error)
	// Close frees what the runner holds.
	Close() error
}

// peaker is a [Runner] that can measure what the processor does at most.
type peaker interface {
	// Peak is in billions of floating-point operations a second.
	Peak() (float64, error)
}

// memoryPlanner is a [Runner] that knows its memory before it runs.
type memoryPlanner interface {
	// Planned is in bytes.
	Planned() int64
}

// profiler is a [Runner] that can tell where the time of a step goes.
type profiler interface {
	// Profile runs steps and tells what they took, the longest first.
	Profile(steps int) ([]KernelTime, error)
}

// The sides of a comparison.
const (
	ours    = "galvani"
	theirs  = "gorgonia"
	pytorch = "pytorch"
)

// runners makes the runner of each side that is this program.
var runners = map[string]func(workload) (Runner, error){
	ours:   newGalvani,
	theirs: newGorgonia,
}
