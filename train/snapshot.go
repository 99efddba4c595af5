package train

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
)

// stateTensors is all of a parameter that a run needs to go on.
var stateTensors = tensorSet{
	"":           weightTensors[""],
	firstSuffix:  momentTensors[firstSuffix],
	squareSuffix: momentTensors[squareSuffix],
}

// SnapshotFiles are the paths of the coordinator's memory files, through which
// the workers write to its memory. The two snapshots take turns, so that one is
// whole while the other is written.
type SnapshotFiles struct {
	States [2]string // safetensors files of all parameters and moments
	Marks  string    // the step of each rank's part, uint64 by snapshot and rank; 0 while it is written
}

// snapshots are the checkpoints that the coordinator keeps in memory. They
// outlive any number of workers and the NATS server, and end with the
// coordinator, however that ends.
type snapshots struct {
	files   [3]*os.File // states, states, marks
	workers int
}

// newSnapshots makes empty snapshots.
func newSnapshots(workers int) (_ *snapshots, err error) {
	s := &snapshots{workers: workers}
	for i, name := range []string{"galvani-snapshot-0", "galvani-snapshot-1", "galvani-snapshot-marks"} {
		if s.files[i], err = memoryFile(name); err != nil {
			return nil, errors.Join(fmt.Errorf("--snapshot-every: %w", err), s.close())
		}
	}
	return s, nil
}

// paths are those of the files for other processes of the same user.
func (s *snapshots) paths() SnapshotFiles {
	path := func(i int) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.files[i].Fd()) }
	return SnapshotFiles{States: [2]string{path(0), path(1)}, Marks: path(2)}
}

// newest returns the number and the step of the newest snapshot that all
// workers have written, step 0 where there is none. No worker may be
// alive.
func (s *snapshots) newest() (number, step int) {
	for n := range 2 {
		steps := make([]byte, 8*s.workers)
		if _, err := s.files[2].ReadAt(steps, int64(n*len(steps))); err != nil {
			continue // not all have written any
		}
		if marked := markedStep(steps); marked > step {
			number, step = n, marked
		}
	}
	return number, step
}

// markedStep is the step that all ranks have marked, 0 where they have not marked the
// same.
func markedStep(marks []byte) int {
	first := binary.LittleEndian.Uint64(marks)
	for ; len(marks) > 0; marks = marks[8:] {
		if binary.LittleEndian.Uint64(marks) != first {
			return 0
		}
	}
	if first > math.MaxInt32 {
		return 0
	}
	return int(first)
}

// close frees the memory.
func (s *snapshots) close() (err error) {
	for _, f := range s.files {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// snapshotBytes is what the two snapshots of a model take.
func snapshotBytes(cfg models.Config) Size { return Size(2 * len(stateTensors) * 4 * numParams(cfg)) }

// snapshot writes this rank's part of the state after step to the coordinator's
// memory. acknowledged returns when the coordinator has all reports up to the
// step: only then does the part count.
func (r *rank) snapshot(step int, acknowledged func() error) (err error) {
	number := step / r.spec.Config.SnapshotEvery % 2
	marks, err := os.OpenFile(r.spec.Snapshots.Marks, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, marks.Close()) }()
	mark := func(step int) error {
		at := int64(8 * (number*r.spec.Config.Workers + r.number))
		_, err := marks.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(step)), at)
		return err
	}
	if err := mark(0); err != nil {
		return err
	}
	var mine []exec.Param
	for _, p := range r.machine.Params() {
		if r.part.Counted[p.Shard] {
			mine = append(mine, p)
		}
	}
	whole, err := r.wholeParams()
	if err != nil {
		return err
	}
	if err := stateTensors.write(r.spec.Snapshots.States[number], whole, mine); err != nil {
		return err
	}
	if err := acknowledged(); err != nil {
		return err
	}
	return mark(step)
}

// wholeParams are the parameters of the whole model, the same for all ranks.
func (r *rank) wholeParams() ([]*graph.Param, error) {
	if r.whole != nil {
		return r.whole, nil
	}
	cfg, err := models.ParseConfig(r.spec.Model)
	if err != nil {
		return nil, err
	}
	model, err := models.Build(cfg, models.Options{Batch: 1, Seq: 1})
	if err != nil {
		return nil, err
	}
	r.whole = model.Params
	return r.whole, nil
}

// loadSnapshot reads this rank's parameters and moments from a snapshot.
func (r *rank) loadSnapshot(path string) error {
	saved, err := hf.OpenTensorFile(path)
	if err != nil {
		return err
	}
	defer saved.Close()
	for _, p := range r.machine.Params() {
		for suffix, data := range stateTensors {
			if err := saved.LoadShard(p.Shard.Param.Name+suffix, p.Shard, data(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// newestSnapshot is where the newest snapshot lets an epoch begin, after step 0
// where there is none.
func (j *job) newestSnapshot() origin {
	if j.snapshots == nil {
		return origin{}
	}
	number, step := j.snapshots.newest()
	if step == 0 || step > j.spec.Config.Steps {
		return origin{}
	}
	return origin{step: step, snap: j.spec.Snapshots.States[number], weights: j.first.weights, what: "the snapshot in memory"}
}
