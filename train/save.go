package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/galvani-ml/galvani/data/tokenizer"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/internal/atomicfile"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
	"github.com/galvani-ml/galvani/parallel"
)

// Bases of the tensor files in a checkpoint. The optimizer's tensors have the
// names of torch.optim.AdamW's state after the parameter's.
const (
	weightsBase  = "model"
	momentsBase  = "optimizer"
	firstSuffix  = ".exp_avg"
	squareSuffix = ".exp_avg_sq"
)

// tensorSet is what a file of a checkpoint has of each parameter, by the suffix
// of the tensor's name.
type tensorSet map[string]func(exec.Param) []float32

var (
	weightTensors = tensorSet{"": func(p exec.Param) []float32 { return p.Value }}
	momentTensors = tensorSet{
		firstSuffix:  func(p exec.Param) []float32 { return p.M },
		squareSuffix: func(p exec.Param) []float32 { return p.V },
	}
)

// partialDir is where a checkpoint grows until it is complete.
func partialDir(out string, step int) string { return stepDir(out, step) + partialSuffix }

// save writes this rank's part of the checkpoint after step.
func (r *rank) save(step int) (savedReport, error) {
	dir := partialDir(r.spec.Out, step)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return savedReport{}, err
	}
	report, err := saveParams(dir, r.part, r.machine.Params())
	report.Step = step
	return report, err
}

// saveParams writes the shards that a rank counts to their places in the files
// of its pipeline stage, which the ranks of the stage write together.
func saveParams(dir string, part *parallel.Part, params []exec.Param) (savedReport, error) {
	report := savedReport{Parts: map[string][]graph.Part{}}
	var mine []exec.Param
	for _, p := range params {
		if part.Counted[p.Shard] {
			mine = append(mine, p)
			report.Parts[p.Shard.Param.Name] = p.Shard.Parts
		}
	}
	if len(mine) == 0 {
		return report, nil
	}
	stage, n := part.PipelineStage(), part.Mesh[part.Mesh.Index(parallel.AxisPP)].Size
	report.Weights = hf.ShardFile(weightsBase, stage, n)
	report.States = hf.ShardFile(momentsBase, stage, n)
	whole := stageParams(part)
	if err := weightTensors.write(filepath.Join(dir, report.Weights), whole, mine); err != nil {
		return savedReport{}, err
	}
	return report, momentTensors.write(filepath.Join(dir, report.States), whole, mine)
}

// stageParams are the parameters in the files of a rank's stage, the same for
// all its ranks. One that several stages hold is in those of the first.
func stageParams(part *parallel.Part) []*graph.Param {
	var params []*graph.Param
	pp := part.Mesh.Index(parallel.AxisPP)
	for _, s := range part.Stage.Params {
		first := part.PipelineStage()
		for _, group := range s.SumOver {
			for _, rank := range part.Groups[group] {
				first = min(first, part.Mesh.Coord(rank)[pp])
			}
		}
		if first == part.PipelineStage() {
			params = append(params, s.Param)
		}
	}
	return params
}

// write adds shards to a file that has all of whole.
func (t tensorSet) write(path string, whole []*graph.Param, shards []exec.Param) (err error) {
	shapes := map[string][]int{}
	for _, p := range whole {
		for suffix := range t {
			shapes[p.Name+suffix] = p.Stored
		}
	}
	f, err := hf.OpenShared(path, shapes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, p := range shards {
		for suffix, data := range t {
			if err := f.WriteShard(p.Shard.Param.Name+suffix, p.Shard, data(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadMoments reads the optimizer's state from a checkpoint.
func loadMoments(dir string, params []exec.Param) error {
	saved, err := hf.OpenTensors(dir, momentsBase)
	if err != nil {
		return err
	}
	defer saved.Close()
	for _, p := range params {
		for suffix, data := range momentTensors {
			if err := saved.LoadShard(p.Shard.Param.Name+suffix, p.Shard, data(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// completeCheckpoint joins the workers' files to a checkpoint once it is sure
// that every element was written: indices, config.json, the tokenizer, and last
// the manifest. Only then does the directory get its name.
func completeCheckpoint(out string, m Manifest, cfg models.Config, t tokenizer.Tokenizer, saved []savedReport) (string, error) {
	model, err := models.Build(cfg, models.Options{Batch: 1, Seq: 1})
	if err != nil {
		return "", err
	}
	if err := checkCover(model, saved); err != nil {
		return "", err
	}
	dir := partialDir(out, m.Step)
	err = errors.Join(
		joinFiles(dir, weightsBase, saved, func(s savedReport) string { return s.Weights }),
		joinFiles(dir, momentsBase, saved, func(s savedReport) string { return s.States }),
		hf.WriteConfig(dir, cfg),
	)
	if t != nil {
		err = errors.Join(err, tokenizer.Save(filepath.Join(dir, "tokenizer.json"), t))
	}
	if err != nil {
		return "", err
	}
	if err := checkFiles(dir, model); err != nil {
		return "", err
	}
	if err := writeManifest(dir, m); err != nil {
		return "", err
	}
	final := stepDir(out, m.Step)
	if err := os.RemoveAll(final); err != nil {
		return "", err
	}
	if err := os.Rename(dir, final); err != nil {
		return "", err
	}
	return final, atomicfile.SyncDir(filepath.Dir(final))
}

// checkCover reports whether the workers have written every element of every
// parameter once.
func checkCover(model *graph.Model, saved []savedReport) error {
	parts := map[string][][]graph.Part{}
	for _, s := range saved {
		for name, p := range s.Parts {
			parts[name] = append(parts[name], p)
		}
	}
	for _, p := range model.Params {
		if err := models.CheckCover(p, parts[p.Name]); err != nil {
			return fmt.Errorf("what the workers saved is not the model: %w", err)
		}
	}
	return nil
}

// checkFiles opens what was saved: files have the size their headers say, and
// the tensors of the model.
func checkFiles(dir string, model *graph.Model) error {
	saved, err := hf.Open(dir)
	if err != nil {
		return err
	}
	states, err := hf.OpenTensors(dir, momentsBase)
	if err != nil {
		return errors.Join(err, saved.Close())
	}
	return errors.Join(saved.Check(model), states.Close(), saved.Close())
}

// joinFiles makes one set of tensors of the workers' files. A single file gets
// the plain name.
func joinFiles(dir, base string, saved []savedReport, fileOf func(savedReport) string) error {
	var files []string
	for _, s := range saved {
		if file := fileOf(s); file != "" && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	if len(files) == 1 {
		return os.Rename(filepath.Join(dir, files[0]), filepath.Join(dir, base+".safetensors"))
	}
	return hf.WriteIndex(dir, base, files...)
}

// writeManifest lists every file of dir.
func writeManifest(dir string, m Manifest) error {
	m.Schema, m.Files = manifestSchema, map[string]FileInfo{}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if m.Files[e.Name()], err = fileInfo(root, dir, e.Name(), math.MaxInt64); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteStream(filepath.Join(dir, manifestName), func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// removePartial removes what interrupted saves left in a run.
func removePartial(out string) error {
	left, err := filepath.Glob(filepath.Join(out, checkpointsDir, stepPrefix+"*"+partialSuffix))
	for _, dir := range left {
		if e := os.RemoveAll(dir); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
