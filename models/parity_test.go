package models_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/internal/shared"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
)

// TestParity compares the first step of GPT-2 and BERT with what PyTorch gave
// in float32: loss, gradient norm, and logits of the first row.
func TestParity(t *testing.T) {
	for _, name := range []string{"gpt2", "bert"} {
		t.Run(name, func(t *testing.T) {
			dir := shared.Path(t, "cases", "parity", name)
			d, err := hf.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			var run struct{ Batch, Seq int }
			readJSON(t, filepath.Join(dir, "run.json"), &run)
			m, err := models.Build(d.Config, models.Options{Batch: run.Batch, Seq: run.Seq, Train: true, Dtype: tensor.Float64})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Check(m); err != nil {
				t.Fatal(err)
			}
			stage := graph.Whole(m)
			if err := stage.Differentiate(); err != nil {
				t.Fatal(err)
			}
			f := firstBatch(t, dir, m, run.Batch*run.Seq)
			f[stage.Seeds[0]] = []float64{1}
			load(t, d, m, f)

			roots := []*G.Node{m.Loss, m.Logits}
			for _, p := range stage.Params {
				roots = append(roots, p.Grad)
			}
			got := tape(t, m.Graph, f, roots...)
			want := firstStep(t, dir)
			near(t, "loss", got[0][0], want.Loss, 2e-6)
			var squares float64
			for _, g := range got[2:] {
				for _, v := range g {
					squares += v * v
				}
			}
			near(t, "gradient norm", math.Sqrt(squares), want.GradNorm, 1e-5)
			for i, v := range npy(t, filepath.Join(dir, "logits_row0.npy")) {
				near(t, "logit", got[1][i], v, 1e-5)
			}
		})
	}
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*(1+math.Abs(want))) {
		t.Fatalf("%s is %.8g, PyTorch has %.8g", what, got, want)
	}
}

// load gives the parameters the directory's values.
func load(t *testing.T, d *hf.Dir, m *graph.Model, f feed) {
	t.Helper()
	for _, p := range m.Params {
		x := make([]float32, p.Size())
		if err := d.Load(p.Name, x); err != nil {
			t.Fatal(err)
		}
		f[p.Node] = widen(x)
	}
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// firstBatch gives the inputs of step 0: tokens, and the tokens one further or
// labels as targets.
func firstBatch(t *testing.T, dir string, m *graph.Model, n int) feed {
	t.Helper()
	tokens := make([]uint16, n+1)
	readBinary(t, filepath.Join(dir, "tokens.bin"), tokens)
	x, y := make([]int32, n), make([]int32, n)
	for i := range n {
		x[i], y[i] = int32(tokens[i]), int32(tokens[i+1])
	}
	if _, err := os.Stat(filepath.Join(dir, "labels.bin")); err == nil {
		labels := make([]int16, n)
		readBinary(t, filepath.Join(dir, "labels.bin"), labels)
		for i, l := range labels {
			y[i] = int32(l)
		}
	}
	counted := 0
	for _, l := range y {
		if l != graph.IgnoreIndex {
			counted++
		}
	}
	f := feed{
		m.Input(graph.InputTokens).Node:  x,
		m.Input(graph.InputTargets).Node: y,
		m.Input(graph.InputScale).Node:   []float64{1 / float64(counted)},
	}
	if types := m.Input(graph.InputTokenTypes); types != nil {
		f[types.Node] = make([]int32, n)
	}
	return f
}

func readBinary(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, into); err != nil {
		t.Fatal(err)
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

type step struct {
	Loss     float64
	GradNorm float64 `json:"grad_norm"`
}

func firstStep(t *testing.T, dir string) (s step) {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, "expected.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Scan()
	if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// npy reads a version 1 file of float32.
func npy(t *testing.T, path string) []float64 {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data = data[10+int(binary.LittleEndian.Uint16(data[8:])):]
	x := make([]float32, len(data)/4)
	if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, x); err != nil {
		t.Fatal(err)
	}
	return widen(x)
}
