package train

import (
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models/hf"
)

// forwardMachine compiles a whole model for running forward only, and loads its
// parameters.
func forwardMachine(dir *hf.Dir, b exec.Backend, model *graph.Model) (*exec.Machine, error) {
	program, err := exec.Compile(graph.Whole(model), b, exec.Options{})
	if err != nil {
		return nil, err
	}
	m, err := exec.New(program, nil)
	if err != nil {
		return nil, err
	}
	for _, p := range m.Params() {
		if err := dir.Load(p.Shard.Param.Name, p.Value); err != nil {
			m.Close()
			return nil, err
		}
	}
	return m, nil
}
