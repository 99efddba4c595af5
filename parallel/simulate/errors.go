package simulate

import "fmt"

// JobError is a job that makes no sense as a whole.
type JobError struct{ Problem string }

// Error tells the problem.
func (e *JobError) Error() string { return "simulate: " + e.Problem }

// StageError is a stage that cannot be played.
type StageError struct {
	Stage   int
	Problem string
}

// Error names the stage.
func (e *StageError) Error() string { return fmt.Sprintf("simulate: stage %d: %s", e.Stage, e.Problem) }

// TaskError is a task that cannot be played.
type TaskError struct {
	Stage   int
	Pass    Pass
	Task    int // index in the pass
	Name    string
	Problem string
}

// Error names the task.
func (e *TaskError) Error() string {
	return fmt.Sprintf("simulate: stage %d, %v, task %d (%s): %s", e.Stage, e.Pass, e.Task, e.Name, e.Problem)
}
