package train

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
)

const recordedStep = 2

// recordTiny trains a model under a plan while a rank records a step.
func recordTiny(t *testing.T, model models.Config, tokens string, plan *parallel.Plan, rank int, change func(*Config)) (string, outcome, error) {
	t.Helper()
	spec, err := tinySpec(model, tokens, plan)
	if err != nil {
		t.Fatal(err)
	}
	spec.Out = t.TempDir()
	spec.Config.RecordStep, spec.Config.RecordRank = recordedStep, rank
	if change != nil {
		change(&spec.Config)
	}
	o, err := trainTiny(t, spec)
	return recordPath(spec.Out, recordedStep, rank), o, err
}

// record is recordTiny of a GPT for tests that need any record.
func record(t *testing.T, plan *parallel.Plan, rank int, change func(*Config)) string {
	t.Helper()
	path, _, err := recordTiny(t, tinyModels()[0], tinyTokens(t), plan, rank, change)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReplayGivesTheBitsRecorded records every rank of some plans. It replays
// them on other numbers of threads and without the data, and finds that
// recording changes nothing.
func TestReplayGivesTheBitsRecorded(t *testing.T) {
	for _, text := range []string{
		"pp=1", "dp=2 micro=3", "pp=3 micro=4 schedule=gpipe", "pp=2 dp=3 micro=2 schedule=1f1b stages=1,2",
		"tp=2", "sp=2 micro=2", "cp=2", "pp=2 dp=2 zero=3 ckpt=all micro=2", "dp=2 zero=2 tp=2",
	} {
		plan, err := parallel.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for i, model := range tinyModels() {
			precision := func(c *Config) { c.Precision = []string{"fp32", "bf16"}[i] }
			tokens := tinyTokens(t)
			_, want, err := recordTiny(t, model, tokens, plan, -1, precision)
			if err != nil {
				t.Fatal(err)
			}
			for rank := range plan.Mesh().Size() {
				path, got, err := recordTiny(t, model, tokens, plan, rank, precision)
				if err != nil {
					t.Fatalf("%s, %s, rank %d: %v", text, model.Type(), rank, err)
				}
				if got.losses != want.losses || got.norms != want.norms || got.val != want.val {
					t.Errorf("%s, %s, rank %d: recording changes losses to %v from %v", text, model.Type(), rank, got, want)
				}
				defer checkReplay(t, path, rank, plan)
			}
			if err := os.Remove(tokens); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkReplay replays a record and finds it equal.
func checkReplay(t *testing.T, path string, rank int, plan *parallel.Plan) {
	t.Helper()
	r, err := Replay(t.Context(), path, ReplayOptions{Threads: 1 + rank%3})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Equal || r.Err() != nil || len(r.Warnings) > 0 || r.Step != recordedStep || r.Rank != rank || r.Plan != plan.String() {
		t.Errorf("%v, rank %d: %+v", plan, rank, r)
	}
	var kinds []string
	for _, c := range r.Compared {
		kinds = append(kinds, c.What)
		if c.Values == 0 || c.Tensors == 0 && c.Values != 1 {
			t.Errorf("%v, rank %d: compared %+v", plan, rank, c)
		}
	}
	if want := []string{"sent", "loss", "gradient norm", "parameters", "first moments", "second moments"}; !slices.Equal(kinds, want) {
		t.Errorf("%v, rank %d: compared %v, want %v", plan, rank, kinds, want)
	}
}

// alter changes the content of a section and makes its checksum right again.
func alter(t *testing.T, path, label string, change func([]byte)) {
	t.Helper()
	f, err := openRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	f.close()
	s, ok := f.sections[label]
	if !ok {
		t.Fatalf("no section %q", label)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end := s.offset + s.size
	change(text[s.offset:end])
	binary.LittleEndian.PutUint32(text[end:], crc32.Checksum(text[s.offset-12-int64(len(label)):end], castagnoli))
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestReplayFindsOneBit changes a bit of a number in each kind of section, and
// finds what differs first.
func TestReplayFindsOneBit(t *testing.T) {
	plan, err := parallel.Parse("pp=2 dp=2 micro=3")
	if err != nil {
		t.Fatal(err)
	}
	const element = 7
	whole, err := os.ReadFile(record(t, plan, 2, nil))
	if err != nil {
		t.Fatal(err)
	}
	const lowest, sign = 0, 31
	for _, c := range []struct {
		label string
		bit   int
		what  string // that differs first
		first string // a prefix of where
		ulps  int64
	}{
		{"before/h.2.mlp.c_fc.weight", sign, "sent", "send to stage 0, edge ", 0},
		{"before/h.2.ln_1.weight.exp_avg", sign, "parameters", "h.2.ln_1.weight, element 7: ", 0},
		{"input/1/targets", lowest, "sent", "send to stage 0, edge ", 0},
		{"received/receive from stage 0, ", sign, "sent", "send to stage 0, edge ", 0},
		{"received/all-reduce over dp: ", sign, "parameters", "h.2.ln_1.weight, element 7: ", 0},
		{"after/h.2.ln_1.weight", lowest, "parameters", "h.2.ln_1.weight, element 7: ", 1},
		{"after/h.2.ln_1.weight.exp_avg", lowest, "first moments", "h.2.ln_1.weight.exp_avg, element 7: ", 1},
		{"after/h.2.ln_1.weight.exp_avg_sq", lowest, "second moments", "h.2.ln_1.weight.exp_avg_sq, element 7: ", 1},
	} {
		path := filepath.Join(t.TempDir(), "record")
		if err := os.WriteFile(path, whole, 0o666); err != nil {
			t.Fatal(err)
		}
		alter(t, path, labelLike(t, path, c.label), func(x []byte) { x[4*element+c.bit/8] ^= 1 << (c.bit % 8) })
		r, err := Replay(t.Context(), path, ReplayOptions{})
		if err != nil {
			t.Fatalf("%s: %v", c.label, err)
		}
		i := slices.IndexFunc(r.Compared, func(c Comparison) bool { return c.Different > 0 })
		if i < 0 || r.Equal || r.Err() == nil {
			t.Errorf("%s: no difference found", c.label)
			continue
		}
		got := r.Compared[i]
		if got.What != c.what || !strings.HasPrefix(got.First.String(), c.first) || c.ulps > 0 && got.First.ULPs != c.ulps {
			t.Errorf("%s: found %s: %v, want %s: %s...", c.label, got.What, got.First, c.what, c.first)
		}
	}
}

// labelLike returns the first label, by name, with a prefix, or the prefix if
// it is a label.
func labelLike(t *testing.T, path, prefix string) string {
	t.Helper()
	f, err := openRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	var labels []string
	for label := range f.sections {
		if strings.HasPrefix(label, prefix) {
			labels = append(labels, label)
		}
	}
	if len(labels) == 0 {
		t.Fatalf("no section %q", prefix)
	}
	return slices.Min(labels)
}

// TestReplayComparesLosses changes a recorded loss.
func TestReplayComparesLosses(t *testing.T) {
	path := record(t, parallel.Default(), 0, nil)
	alter(t, path, sectionOutcome, func(text []byte) {
		at := bytes.IndexAny(text, "123456789")
		text[at]--
		if text[at] == '0' {
			text[at] = '2'
		}
	})
	r, err := Replay(t.Context(), path, ReplayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "step 2 of worker 0 gives other bits than recorded: loss: recorded ") {
		t.Errorf("error %v", err)
	}
}

// TestFailedStepReplays records a step whose gradient is not finite.
func TestFailedStepReplays(t *testing.T) {
	plan, err := parallel.Parse("pp=2 micro=2")
	if err != nil {
		t.Fatal(err)
	}
	path, _, err := recordTiny(t, tinyModels()[0], tinyTokens(t), plan, 0, func(c *Config) { c.LR = 1e38 })
	var nonFinite *exec.NonFiniteError
	if !errors.As(err, &nonFinite) || !strings.Contains(err.Error(), "(recorded in "+path+")") {
		t.Fatalf("error %v, want that of a gradient that is not finite", err)
	}
	r, err := Replay(t.Context(), path, ReplayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c := r.Compared[3]; !r.Equal || c.What != "failure" || c.Values != 1 {
		t.Errorf("%+v", r)
	}
	for _, asJSON := range []bool{false, true} { // the loss may be no number
		if err := r.Write(&strings.Builder{}, asJSON); err != nil {
			t.Error(err)
		}
	}
}

// TestReplayWarns changes what a record says of where it was made.
func TestReplayWarns(t *testing.T) {
	isa := kernel.ActiveISA()
	head := func(p platform, precision string) *recordHead {
		return &recordHead{Spec: &Spec{Config: Config{Precision: precision}}, Platform: p}
	}
	here := platform{"v2", "go1.26", "amd64", isa, true}
	change := func(f func(*platform)) platform { p := here; f(&p); return p }
	for _, c := range []struct {
		head *recordHead
		want string // empty for no warning
	}{
		{head(here, "bf16"), ""},
		{head(change(func(p *platform) { p.Version = "v1" }), "fp32"), "recorded by version v1, replayed by v2"},
		{head(change(func(p *platform) { p.ISA = "avx9" }), "fp32"), "bits may differ by instruction set; GALVANI_ISA=avx9"},
		{head(change(func(p *platform) { p.Arch = "arm64" }), "fp32"), "kernels on arm64"},
		{head(change(func(p *platform) { p.BF16 = false }), "fp32"), ""},
		{head(change(func(p *platform) { p.BF16 = false }), "bf16"), "instructions for bf16"},
		{head(change(func(p *platform) { p.Go = "go1.27" }), "fp32"), "go1.27"},
	} {
		got := c.head.warnings(here)
		if len(got) > 1 || (len(got) == 1) != (c.want != "") || len(got) == 1 && !strings.Contains(got[0], c.want) {
			t.Errorf("%+v: warnings %q, want one with %q", c.head.Platform, got, c.want)
		}
	}
}

// TestDamagedRecordsAreRefused cuts records short and changes bytes of them.
func TestDamagedRecordsAreRefused(t *testing.T) {
	whole, err := os.ReadFile(record(t, parallel.Default(), 0, nil))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "record")
	open := func(text []byte) error {
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := openRecord(path)
		if err == nil {
			f.close()
		}
		return err
	}
	if err := open(whole); err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string]string{
		"not a record":                        "PK\x03\x04 and so on, for some bytes",
		"a record of format \"2\"":            strings.Replace(string(whole), recordMagic+"1", recordMagic+"2", 1),
		"is one too many":                     string(whole) + string(whole[len(recordMagic)+2:]),
		"truncated after 17 bytes":            string(whole[:17]),
		"a label of 4294967295 bytes":         string(whole[:17]) + strings.Repeat("\xff", 40),
		"it ends within the section at byte ": string(whole[:len(whole)-1]),
	} {
		err := open([]byte(text))
		if r := (*RecordError)(nil); !errors.As(err, &r) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		at := rapid.IntRange(0, len(whole)-1).Draw(rt, "at")
		text := slices.Clone(whole)
		if rapid.Bool().Draw(rt, "cut") {
			text = text[:at]
		} else {
			text[at] ^= rapid.ByteRange(1, 255).Draw(rt, "bits")
		}
		if r := (*RecordError)(nil); !errors.As(open(text), &r) {
			rt.Error("no error")
		}
	})
}

// TestForeignStepsAreRefused gives replay heads that no recorder writes.
func TestForeignStepsAreRefused(t *testing.T) {
	path := record(t, parallel.Default(), 0, nil)
	f, err := openRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	var good recordHead
	if err := f.json(sectionStep, &good); err != nil {
		t.Fatal(err)
	}
	f.close()
	for name, change := range map[string]func(*recordHead){
		"no spec":  func(h *recordHead) { h.Spec = nil },
		"no plan":  func(h *recordHead) { h.Spec.Plan = nil },
		"no model": func(h *recordHead) { h.Spec.Model = json.RawMessage("{}") },
		"another model": func(h *recordHead) {
			h.Spec.Model = json.RawMessage(strings.Replace(string(h.Spec.Model), "12", "16", 1))
		},
		"another rank":       func(h *recordHead) { h.Rank = 3 },
		"a negative rank":    func(h *recordHead) { h.Rank = -1 },
		"another plan":       func(h *recordHead) { h.Spec.Plan.PP = 2 },
		"no sequences":       func(h *recordHead) { h.Spec.Config.Seq = 0 },
		"unequal batch":      func(h *recordHead) { h.Spec.Plan.Micro = 5 },
		"an empty batch":     func(h *recordHead) { h.Spec.Config.Batch = 0 },
		"no step":            func(h *recordHead) { h.Step = 0 },
		"another precision":  func(h *recordHead) { h.Spec.Config.Precision = "fp8" },
		"more micro-batches": func(h *recordHead) { h.Spec.Plan.Micro = 2 },
	} {
		head := good
		spec, plan := *good.Spec, *good.Spec.Plan
		head.Spec, spec.Plan = &spec, &plan
		change(&head)
		other := filepath.Join(t.TempDir(), "record")
		copyWithHead(t, path, other, head)
		if _, err := Replay(t.Context(), other, ReplayOptions{Threads: 1}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// copyWithHead copies a record with another head.
func copyWithHead(t *testing.T, from, to string, head recordHead) {
	t.Helper()
	f, err := openRecord(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	s := f.sections[sectionStep]
	var b bytes.Buffer
	w := recordWriter{&b}
	if err := errors.Join(w.begin(), w.json(sectionStep, head)); err != nil {
		t.Fatal(err)
	}
	b.Write(text[s.offset+s.size+4:])
	if err := os.WriteFile(to, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestRecordKeepsNoPassword looks for that of an external server.
func TestRecordKeepsNoPassword(t *testing.T) {
	text, err := os.ReadFile(record(t, parallel.Default(), 0, func(c *Config) { c.NATS = "nats://me:secret@host:4222" }))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("secret")) {
		t.Error("the record has the password")
	}
}

func TestMessagesAreNamedByKind(t *testing.T) {
	var m messages
	var got []string
	for _, kind := range []string{"a", "b", "a", "a", "b"} {
		got = append(got, m.name(kind))
	}
	if want := []string{"a", "b", "a (call 2)", "a (call 3)", "b (call 2)"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestULPs(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct {
		x, y float32
		want int64
	}{
		{1, 1, 0}, {1, math.Nextafter32(1, 2), 1}, {-1, math.Nextafter32(-1, 0), 1},
		{math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 2}, {0, float32(math.Copysign(0, -1)), 0},
		{math.MaxFloat32, inf, 1}, {inf, -inf, 2 * 0x7f800000}, {nan, 1, 0},
	} {
		if got := ulps(c.x, c.y); got != c.want || ulps(c.y, c.x) != got {
			t.Errorf("%v and %v: %d ulps, want %d", c.x, c.y, got, c.want)
		}
	}
}

// ExampleReplayed_Write shows the report of a step that differs.
func ExampleReplayed_Write() {
	r := &Replayed{
		Step: 2, Rank: 1, Plan: "dp=2", Version: "v1", ISA: "avx2", Warnings: []string{"recorded by version v1, replayed by v2"},
		Compared: []Comparison{
			{What: "sent", Tensors: 2, Values: 1234, Different: 1, First: &Difference{
				Tensor: "all-reduce over dp: gradients from wte on", Index: -1, Recorded: "1230 values, CRC32C 0badcafe", Replayed: "1230 values, CRC32C 0badbeef",
			}},
			{What: "loss", Values: 1},
			{What: "parameters", Tensors: 3, Values: 1230, Different: 2, First: differenceOf("wte", 17, 0.25, math.Nextafter32(0.25, 1))},
		},
	}
	_ = r.Write(os.Stdout, false)
	fmt.Println(r.Err())
	// Output:
	// record          step 2 of worker 1 under dp=2, version v1, avx2 kernels
	// warning         recorded by version v1, replayed by v2
	// sent            2 tensors of 1,234 values, 1 not equal
	//                 first: all-reduce over dp: gradients from wte on: recorded 1230 values, CRC32C 0badcafe, replayed 1230 values, CRC32C 0badbeef
	// loss            equal
	// parameters      3 tensors of 1,230 values, 2 not equal
	//                 first: wte, element 17: recorded 0.25 (0x3e800000), replayed 0.25000003 (0x3e800001), ulps apart: 1
	// replay: step 2 of worker 1 gives other bits than recorded: sent: all-reduce over dp: gradients from wte on: recorded 1230 values, CRC32C 0badcafe, replayed 1230 values, CRC32C 0badbeef
}
