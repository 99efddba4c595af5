package train

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
)

// FuzzManifest shows that no manifest panics, and that no file it names lies
// outside the checkpoint.
func FuzzManifest(f *testing.F) {
	for _, text := range []string{
		`{"schema":"galvani/checkpoint/v1","step":3,"tokens":9,"files":{"model.safetensors":{"bytes":7,"crc32c":"00000000"}}}`,
		`{"schema":"galvani/checkpoint/v1","files":{"../secret":{}}}`, `{"schema":"galvani/checkpoint/v1","files":{"/etc/passwd":{}}}`,
		`{"schema":"galvani/checkpoint/v1","files":{"a/../../b":{"bytes":-1}}}`, `{"schema":"galvani/checkpoint/v1","files":{"":{}}}`,
		`{"schema":"galvani/checkpoint/v1","step":-1}`, `null`, `[`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		for name := range m.Files {
			if rel, err := filepath.Rel("/checkpoint", filepath.Join("/checkpoint", name)); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
				t.Errorf("%q lies outside", name)
			}
		}
	})
}

// seedSpec is that of a small run, as JSON.
func seedSpec(f *testing.F) []byte {
	plan, err := parallel.Parse("pp=2 dp=2 micro=2")
	if err != nil {
		f.Fatal(err)
	}
	text, err := json.Marshal(&Spec{
		Config: Config{Batch: 4, Seq: 4, Steps: 2, Workers: 4}, Plan: plan, Threads: 1,
		Model: json.RawMessage(`{"model_type":"gpt2","vocab_size":8,"n_positions":4,"n_embd":4,"n_layer":2,"n_head":2}`),
	})
	if err != nil {
		f.Fatal(err)
	}
	return text
}

// FuzzSpec shows that what is accepted of a coordinator is a plan for the model
// and the workers.
func FuzzSpec(f *testing.F) {
	backend, err := cpu.New(1)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { backend.Close() })
	good := seedSpec(f)
	f.Add(good)
	f.Add([]byte("null"))
	f.Add([]byte("{}"))
	for old, with := range map[string]string{`"Batch":4`: `"Batch":0`, `"Seq":4`: `"Seq":9223372036854775807`, `"n_layer":2`: `"n_layer":-2`, `"size":2`: `"size":32768`, `"Threads":1`: `"Threads":-1`} {
		f.Add(bytes.Replace(good, []byte(old), []byte(with), 1))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		spec, err := decodeSpec(text, 4)
		if err != nil {
			return
		}
		if cfg, err := models.ParseConfig(spec.Model); err != nil || cfg.Layers() > 8 || spec.Plan.Micro > 8 {
			return // programs of large models take long to compile
		}
		for rank := range 4 {
			if _, _, err := compileRank(spec, rank, backend); err != nil {
				t.Logf("rank %d: %v", rank, err)
			}
		}
	})
}

// FuzzReport shows that no event of a worker panics in the coordinator, and that
// files it names are of the checkpoint's directory.
func FuzzReport(f *testing.F) {
	for _, text := range []string{
		`{"Step":1,"Loss":2.5,"GradNorm":1,"LR":0.1,"Seconds":0.1,"PeakBytes":9,"SentBytes":3}`, `{"Step":-1}`, `{"Step":9223372036854775807}`,
		`{"Step":1,"Seconds":-1}`, `{"Step":1,"Weights":"../../x.safetensors"}`, `{"Step":1,"States":"/x.safetensors"}`,
		`{"Step":1,"Weights":"model-00001-of-00002.safetensors","States":"s.safetensors","Parts":{"wte":[{"Index":0,"Count":2}]}}`, `null`, `{"Parts":null}`,
		`{"Text":"tcp (2 ranks on 2 hosts)","Notes":["shm cannot join ranks 0 and 1: no"]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, r := range []report{&stepReport{}, &valReport{}, &savedReport{}, &routesReport{}} {
			if err := decodeReport(text, 3, r); err != nil {
				continue
			}
			if s, ok := r.(*savedReport); ok {
				for _, name := range []string{s.Weights, s.States} {
					if strings.ContainsAny(name, "/\\") || name == ".." {
						t.Errorf("accepted %q", name)
					}
				}
			}
		}
		var s savedReport
		if decodeReport(text, 3, &s) == nil {
			_ = checkCover(&graph.Model{}, []savedReport{s, s})
		}
	})
}

// FuzzMarks shows that a snapshot counts only if all ranks have marked the same step.
func FuzzMarks(f *testing.F) {
	marks := func(steps ...uint64) (text []byte) {
		for _, s := range steps {
			text = binary.LittleEndian.AppendUint64(text, s)
		}
		return text
	}
	f.Add(marks(3, 3))
	f.Add(marks(3, 4))
	f.Add(marks(0, 0, 0))
	f.Add(marks(1<<63, 1<<63))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) < 8 {
			return
		}
		text = text[:len(text)/8*8]
		step := markedStep(text)
		if step < 0 || step > 0 && !bytes.Equal(text, bytes.Repeat(marks(uint64(step)), len(text)/8)) {
			t.Fatalf("step %d of %v", step, text)
		}
	})
}

// FuzzRecordFile shows that no record makes its reader panic or take more memory
// than the file has bytes.
func FuzzRecordFile(f *testing.F) {
	var b bytes.Buffer
	w := recordWriter{&b}
	spec := &Spec{}
	if err := json.Unmarshal(seedSpec(f), spec); err != nil {
		f.Fatal(err)
	}
	err := errors.Join(w.begin(), w.json(sectionStep, recordHead{Step: 1, Rank: 1, Spec: spec}), writeTensor(w, "before/wte.weight", []float32{1, 2}),
		w.json(sectionOutcome, recordOutcome{Sent: []sentMessage{{Name: "x", Size: 1}}}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:b.Len()-9])
	f.Add([]byte(recordMagic + recordFormat + "\n"))
	f.Add([]byte(recordMagic + "2\n"))
	f.Add(append([]byte(recordMagic+recordFormat+"\n"), binary.LittleEndian.AppendUint64([]byte{4, 0, 0, 0}, 1<<63)...))
	f.Add(append([]byte(recordMagic+recordFormat+"\n"), 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(dir, "record.galvani")
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
		file, err := openRecord(path)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("error without the path: %v", err)
			}
			return
		}
		defer file.close()
		var head recordHead
		var outcome recordOutcome
		if file.json(sectionStep, &head) == nil {
			_ = head.validate()
		}
		_ = file.json(sectionOutcome, &outcome)
		for label, s := range file.sections {
			if s.size > int64(len(content)) {
				t.Errorf("section %q of %d bytes", label, s.size)
			}
			_ = readTensor(file, label, make([]float32, s.size/4))
		}
	})
}

// FuzzMetrics shows that what a run keeps of its metrics are whole lines of steps
// that it has taken.
func FuzzMetrics(f *testing.F) {
	f.Add([]byte("{\"step\":1}\n{\"step\":2}\n{\"step\":"), 1)
	f.Add([]byte("{\"step\":1}\n\n{}\n[]\n"), 3)
	f.Fuzz(func(t *testing.T, text []byte, last int) {
		kept := stepsUpTo(text, last)
		if !bytes.HasPrefix(text, kept) || len(kept) > 0 && kept[len(kept)-1] != '\n' {
			t.Fatalf("kept %q of %q", kept, text)
		}
	})
}

// FuzzFlags shows that sizes and pairs of the command line are read or refused,
// and that sizes read back.
func FuzzFlags(f *testing.F) {
	for _, text := range []string{"200MiB", "1.5GB", "-1", "9999999999EiB", "1e400", "0.9,0.95", "NaN,Inf", ","} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var b Betas
		_ = b.UnmarshalText([]byte(text))
		var s, again Size
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		written, err := s.MarshalText()
		if err != nil || again.UnmarshalText(written) != nil || again != s || s < 0 {
			t.Fatalf("%q is %d, written %q, read back %d (%v)", text, s, written, again, err)
		}
	})
}

// FuzzWhereabouts shows that whatever workers say of themselves makes a report.
func FuzzWhereabouts(f *testing.F) {
	for _, text := range []string{
		`{"doing":"training","step":3,"computing":{"micro_batch":1,"layer":2,"name":"h.1","pass":"forward","kind":"gemm"}}`,
		`{"doing":"saving","exchange":{"layer":-1},"waits":[{"Peer":1}]}`, `{"waits":[{"Peer":-7},{"Peer":99}]}`, `{"step":-1}`, `null`, `[]`,
	} {
		f.Add([]byte(text), []byte(`{}`))
	}
	f.Fuzz(func(t *testing.T, one, other []byte) {
		var answers []comm.Answer
		for rank, text := range [][]byte{one, other} {
			answers = append(answers, comm.Answer{Worker: comm.Worker{Rank: rank}, Heard: true, Data: text})
		}
		r := newHangReport("fuzzed", 1, answers)
		if len(r.Workers) != 2 || r.String() == "" {
			t.Errorf("a report of %d workers", len(r.Workers))
		}
	})
}
