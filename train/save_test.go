package train

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
	"github.com/galvani-ml/galvani/parallel"
)

// cuts is a strategy that holds each parameter in parts along some dimension,
// or whole, as its name and the seed have it.
type cuts struct {
	seed int
	ways int // that a dimension must be divisible by
	used parallel.Placement
	parallel.Table
}

func (c cuts) Param(p *graph.Param) parallel.Holding {
	h := fnv.New32a()
	fmt.Fprint(h, c.seed, p.Name)
	d := int(h.Sum32()>>8) % (len(p.Shape) + 1)
	if d == len(p.Shape) || p.Shape[d]%c.ways != 0 {
		return parallel.Hold(c.used)
	}
	return parallel.Holding{Held: parallel.Shard(d), Used: c.used}
}

// drawParts cuts a model for all ranks of a random plan.
func drawParts(t *rapid.T, model *graph.Model) []*parallel.Part {
	plan := parallel.Default()
	plan.PP = rapid.IntRange(1, 3).Draw(t, "pp")
	plan.DP = rapid.IntRange(1, 3).Draw(t, "dp")
	plan.TP = rapid.IntRange(1, 2).Draw(t, "tp")
	seed := rapid.IntRange(0, 99).Draw(t, "seed")
	tables := map[string]parallel.Table{
		parallel.AxisDP: cuts{seed, plan.DP * plan.TP, parallel.Copied, parallel.DataParallel{}},
		parallel.AxisTP: cuts{seed + 1, plan.DP * plan.TP, parallel.Replicate, parallel.Replicated{}},
	}
	var parts []*parallel.Part
	for rank := range plan.Mesh().Size() {
		part, err := parallel.PartitionBy(model, plan, rank, tables)
		if err != nil {
			t.Fatalf("%v: %v", plan, err)
		}
		parts = append(parts, part)
	}
	return parts
}

// saveAll has every rank save at once, and returns what they report.
func saveAll(t interface{ Fatal(...any) }, out string, parts []*parallel.Part) []savedReport {
	dir := partialDir(out, 1)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	saved, errs := make([]savedReport, len(parts)), make([]error, len(parts))
	var all sync.WaitGroup
	for i, part := range parts {
		params, err := fakeParams(part)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { saved[i], errs[i] = saveParams(dir, part, params) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return saved
}

// fakeParams has parameters and moments whose every element tells its place.
func fakeParams(part *parallel.Part) ([]exec.Param, error) {
	var params []exec.Param
	for _, s := range part.Stage.Params {
		p := exec.Param{Shard: s}
		alike := &graph.Shard{Param: &graph.Param{Name: s.Param.Name, Shape: s.Param.Shape, Init: graph.Init{Std: 1}}, Parts: s.Parts}
		for i, x := range []*[]float32{&p.Value, &p.M, &p.V} {
			*x = make([]float32, graph.TypeOf(s.Node).Size())
			if err := models.InitShard(alike, uint64(i), *x); err != nil {
				return nil, err
			}
		}
		params = append(params, p)
	}
	return params, nil
}

// checkLoaded reads the shards of parts from a checkpoint.
func checkLoaded(t *rapid.T, dir string, parts []*parallel.Part) {
	weights, err := hf.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer weights.Close()
	for _, part := range parts {
		want, err := fakeParams(part)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.Clone(want)
		for i, p := range want {
			n := len(p.Value)
			got[i] = exec.Param{Shard: p.Shard, Value: make([]float32, n), M: make([]float32, n), V: make([]float32, n)}
			if err := weights.LoadShard(p.Shard.Param.Name, p.Shard, got[i].Value); err != nil {
				t.Fatal(err)
			}
		}
		if err := loadMoments(dir, got); err != nil {
			t.Fatal(err)
		}
		for i, p := range want {
			if !slices.Equal(p.Value, got[i].Value) || !slices.Equal(p.M, got[i].M) || !slices.Equal(p.V, got[i].V) {
				t.Fatalf("rank %d: %s, part %v: other elements than were saved", part.Rank, p.Shard.Param.Name, p.Shard.Parts)
			}
		}
	}
}

func buildTiny(t testing.TB, cfg models.Config) *graph.Model {
	t.Helper()
	model, err := models.Build(cfg, models.Options{Batch: 6, Seq: 2, Train: true})
	if err != nil {
		t.Fatal(err)
	}
	return model
}

// TestCheckpointHasNoLayout saves under random plans, whose ranks hold parts of
// parameters, and loads under others.
func TestCheckpointHasNoLayout(t *testing.T) {
	root, cfgs := t.TempDir(), tinyModels()
	var tiny []*graph.Model
	var whole []string // checkpoint of each, saved by one worker
	for _, cfg := range cfgs {
		model, out := buildTiny(t, cfg), t.TempDir()
		alone, err := parallel.Partition(model, parallel.Default(), 0)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := completeCheckpoint(out, Manifest{Step: 1}, cfg, nil, saveAll(t, out, []*parallel.Part{alone}))
		if err != nil {
			t.Fatal(err)
		}
		tiny, whole = append(tiny, model), append(whole, dir)
	}
	rapid.Check(t, func(t *rapid.T) {
		out, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(out)
		m := rapid.IntRange(0, len(tiny)-1).Draw(t, "model")
		parts := drawParts(t, tiny[m])
		dir, err := completeCheckpoint(out, Manifest{Step: 1}, cfgs[m], nil, saveAll(t, out, parts))
		if err != nil {
			t.Fatal(err)
		}
		if latest, _, err := LatestCheckpoint(out); err != nil || latest != dir {
			t.Fatalf("%s, %v, want %s", latest, err, dir)
		}
		if parts[0].Mesh[0].Size == 1 {
			sameBytes(t, whole[m], dir, "model.safetensors", "optimizer.safetensors")
		}
		checkLoaded(t, dir, drawParts(t, tiny[m]))
	})
}

func sameBytes(t *rapid.T, a, b string, names ...string) {
	for _, name := range names {
		x, errX := os.ReadFile(filepath.Join(a, name))
		y, errY := os.ReadFile(filepath.Join(b, name))
		if err := errors.Join(errX, errY); err != nil || !bytes.Equal(x, y) {
			t.Fatalf("%s is not as one worker saves it (%v)", name, err)
		}
	}
}

// TestMissingPartsAreNoticed loses what one worker saved, and what two saved of
// one parameter.
func TestMissingPartsAreNoticed(t *testing.T) {
	cfg := tinyModels()[0]
	model := buildTiny(t, cfg)
	plan := parallel.Default()
	plan.PP, plan.DP = 2, 2
	zero := map[string]parallel.Table{parallel.AxisDP: cuts{3, 2, parallel.Copied, parallel.DataParallel{}}}
	var parts []*parallel.Part
	for rank := range 4 {
		part, err := parallel.PartitionBy(model, plan, rank, zero)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
	}
	if _, err := completeCheckpoint(t.TempDir(), Manifest{Step: 1}, cfg, nil, make([]savedReport, 4)); err == nil {
		t.Error("a checkpoint that nobody saved is complete")
	}
	for rank, part := range parts {
		out := t.TempDir()
		saved := saveAll(t, out, parts)
		saved[rank].Parts = nil
		_, err := completeCheckpoint(out, Manifest{Step: 1}, cfg, nil, saved)
		if err == nil || !strings.Contains(err.Error(), "what the workers saved is not the model") || !strings.Contains(err.Error(), "elements are in no shard") {
			t.Errorf("rank %d of %v: %v", rank, part.Coord, err)
		}
		if _, _, err := LatestCheckpoint(out); !errors.Is(err, ErrNoCheckpoint) {
			t.Errorf("an incomplete checkpoint has its name: %v", err)
		}
	}
	out := t.TempDir()
	saved := saveAll(t, out, parts)
	saved[1].Parts = saved[0].Parts
	if _, err := completeCheckpoint(out, Manifest{Step: 1}, cfg, nil, saved); err == nil || !strings.Contains(err.Error(), "two shards overlap") {
		t.Errorf("two workers saved the same: %v", err)
	}
	saved = saveAll(t, out, parts)
	if err := os.Truncate(filepath.Join(partialDir(out, 1), saved[2].States), 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := completeCheckpoint(out, Manifest{Step: 1}, cfg, nil, saved); err == nil || !strings.Contains(err.Error(), "not a whole safetensors file") {
		t.Errorf("a file is cut short: %v", err)
	}
}
