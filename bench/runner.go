package bench

// Runner is one side of a comparison, ready to train.
type Runner interface {
	// Step runs one training step and returns the loss before its update.
	Step() (loss float64, err error)
	// Tokens is the number of tokens a step.
	Tokens() int
	// FLOPs is the number of floating-point operations a step needs.
	FLOPs() float64
	// Close frees what the runner holds.
	Close() error
}

// The sides of a comparison.
const (
	ours   = "galvani"
	theirs = "gorgonia"
)

// runners makes the runner of each side.
var runners = map[string]func(workload) (Runner, error){
	ours:   newGalvani,
	theirs: newGorgonia,
}
