package program

import (
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cost"
)

// StageWorks reads off what each layer of a compiled stage does: the works of a
// plan as it is, whatever strategies its layers have. They are by layer, with all
// exchanges but messages between stages.
func StageWorks(part *parallel.Part, p *exec.Program) map[int]cost.Work {
	works := map[int]cost.Work{}
	traffic := Traffic(p, part)
	for _, f := range p.Layers() {
		var l layerSample
		l.add(f)
		for _, t := range traffic {
			l.exchange(t, part, []int{f.Layer})
		}
		for i := range l.exchanges {
			l.exchanges[i].across = false // the group is the plan's own
		}
		works[f.Layer] = l.work(0)
	}
	return works
}
