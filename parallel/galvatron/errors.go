package galvatron

import "fmt"

// IndivisibleError is a micro-batch that does not divide among the replicas.
// Version 3.0 of the engine rounds down and prices fewer samples than it trains.
type IndivisibleError struct {
	Batch, Chunks, DP int
}

// Error tells the sizes.
func (e *IndivisibleError) Error() string {
	return fmt.Sprintf("batch %d in %d micro-batches does not divide among %d replicas: %d samples would be left out of the price",
		e.Batch, e.Chunks, e.DP, e.Batch-e.Batch/e.Chunks/e.DP*e.DP*e.Chunks)
}

// InfeasibleError says that no plan fits in memory.
type InfeasibleError struct {
	Budget int // MB
	Least  int // MB that the fullest stage of the least plan takes, 0 where unknown
	Cells  int // cells tried
}

// Error tells what is lacking.
func (e *InfeasibleError) Error() string {
	if e.Least == 0 {
		return fmt.Sprintf("no plan fits in %d MB (cells tried: %d)", e.Budget, e.Cells)
	}
	return fmt.Sprintf("no plan fits in %d MB (cells tried: %d): the closest needs %d MB on its fullest stage, %d MB more",
		e.Budget, e.Cells, e.Least, e.Least-e.Budget)
}

// ArgumentError is an argument, or a value in a file of the engine's, that cannot be used.
type ArgumentError struct {
	Name, Problem string
}

// Error names the argument.
func (e *ArgumentError) Error() string { return fmt.Sprintf("%s: %s", e.Name, e.Problem) }
