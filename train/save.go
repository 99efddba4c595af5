package train

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/galvani-ml/galvani/data/tokenizer"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/internal/atomicfile"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
)

// Bases of the tensor files in a checkpoint. The optimizer's tensors have the
// names of torch.optim.AdamW's state after the parameter's.
const (
	weightsBase  = "model"
	momentsBase  = "optimizer"
	firstSuffix  = ".exp_avg"
	squareSuffix = ".exp_avg_sq"
)

// partialDir is where a checkpoint grows until it is complete.
func partialDir(out string, step int) string { return stepDir(out, step) + partialSuffix }

// save writes this rank's part of the checkpoint after step: every parameter
// is written by the rank that counts it.
func (r *rank) save(step int) (savedReport, error) {
	dir := partialDir(r.spec.Out, step)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return savedReport{}, err
	}
	var mine []exec.Param
	for _, p := range r.machine.Params() {
		if r.part.Counted[p.Shard] {
			mine = append(mine, p)
		}
	}
	report := savedReport{Step: step}
	if len(mine) == 0 {
		return report, nil
	}
	n := r.spec.Plan.Mesh().Size()
	report.Weights = hf.ShardFile(weightsBase, r.number, n)
	report.States = hf.ShardFile(momentsBase, r.number, n)
	if err := hf.WriteShard(filepath.Join(dir, report.Weights), weightsOf(mine)); err != nil {
		return savedReport{}, err
	}
	return report, hf.WriteShard(filepath.Join(dir, report.States), momentsOf(mine))
}

func weightsOf(params []exec.Param) iter.Seq2[string, hf.Tensor] {
	return func(yield func(string, hf.Tensor) bool) {
		for _, p := range params {
			if !yield(p.Shard.Param.Name, hf.Tensor{Shape: p.Shard.Param.Stored, Data: p.Value}) {
				return
			}
		}
	}
}

func momentsOf(params []exec.Param) iter.Seq2[string, hf.Tensor] {
	return func(yield func(string, hf.Tensor) bool) {
		for _, p := range params {
			name, shape := p.Shard.Param.Name, p.Shard.Param.Stored
			if !yield(name+firstSuffix, hf.Tensor{Shape: shape, Data: p.M}) ||
				!yield(name+squareSuffix, hf.Tensor{Shape: shape, Data: p.V}) {
				return
			}
		}
	}
}

// loadMoments reads the optimizer's state from a checkpoint.
func loadMoments(dir string, params []exec.Param) error {
	moments, err := hf.OpenTensors(dir, momentsBase)
	if err != nil {
		return err
	}
	defer moments.Close()
	for _, p := range params {
		name := p.Shard.Param.Name
		if err := errors.Join(moments.LoadShard(name+firstSuffix, p.Shard, p.M), moments.LoadShard(name+squareSuffix, p.Shard, p.V)); err != nil {
			return err
		}
	}
	return nil
}

// completeCheckpoint joins the workers' files to a checkpoint: indices,
// config.json, the tokenizer, and last the manifest. Only then does the
// directory get its name.
func completeCheckpoint(out string, m Manifest, cfg models.Config, t tokenizer.Tokenizer, saved []savedReport) (string, error) {
	dir := partialDir(out, m.Step)
	var weights, states []string
	for _, s := range saved {
		if s.Weights != "" {
			weights, states = append(weights, s.Weights), append(states, s.States)
		}
	}
	err := errors.Join(
		joinFiles(dir, weightsBase, weights),
		joinFiles(dir, momentsBase, states),
		hf.WriteConfig(dir, cfg),
	)
	if t != nil {
		err = errors.Join(err, tokenizer.Save(filepath.Join(dir, "tokenizer.json"), t))
	}
	if err != nil {
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

// joinFiles makes one set of tensors of the workers' files. A single file gets
// the plain name.
func joinFiles(dir, base string, files []string) error {
	if len(files) == 1 {
		return os.Rename(filepath.Join(dir, files[0]), filepath.Join(dir, base+".safetensors"))
	}
	return hf.WriteIndex(dir, base, files...)
}

// writeManifest lists every file of dir.
func writeManifest(dir string, m Manifest) error {
	m.Schema, m.Files = manifestSchema, map[string]FileInfo{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if m.Files[e.Name()], err = fileInfo(filepath.Join(dir, e.Name())); err != nil {
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
