package parallel

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]*Plan{
		"pp=1": Default(),
		"pp=2 dp=2 tp=1 zero=3 ckpt=all micro=4 schedule=gpipe stages=3,5": {
			PP: 2, Strategy: Strategy{DP: 2, TP: 1, ZeRO: 3, Checkpoint: true}, Micro: 4, Schedule: GPipe, Stages: []int{3, 5},
		},
		"  micro=2\n\tdp=3 ": {PP: 1, Strategy: Strategy{DP: 3, TP: 1}, Micro: 2, Schedule: OneFOneB},
	} {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                               `invalid plan value: plan="": is empty`,
		"mirco=4":                        "unknown plan key: mirco=4: did you mean micro?",
		"stage=3,5":                      "unknown plan key: stage=3,5: did you mean stages?",
		"PP=2":                           "unknown plan key: PP=2: did you mean pp?",
		"pp":                             "invalid plan value: pp=: has no value",
		"pp=2 pp=3":                      "invalid plan value: pp=3: the key is given twice",
		"dp=two":                         "invalid plan value: dp=two: must be a whole number",
		"dp=0":                           "invalid plan value: dp=0: must be 1 to 32768",
		"micro=0":                        "invalid plan value: micro=0: must be 1 to 32768",
		"micro=99999999999999":           "invalid plan value: micro=99999999999999: must be 1 to 32768",
		"dp=1e3":                         "invalid plan value: dp=1e3: must be a whole number",
		"dp=40000":                       "invalid plan value: dp=40000: must be 1 to 32768",
		"zero=4":                         "invalid plan value: zero=4: must be 0, 1, 2 or 3",
		"zero=-1":                        "invalid plan value: zero=-1: must be 0 to 32768",
		"ckpt=some":                      "invalid plan value: ckpt=some: must be all or none",
		"schedule=zb":                    "invalid plan value: schedule=zb: must be gpipe or 1f1b",
		"stages=3,,5":                    `invalid plan value: stages=3,,5: "" is not a number of blocks`,
		"sp=0":                           "invalid plan value: sp=0: must be 1 to 32768",
		"sequence_parallel=yes":          "invalid plan value: sequence_parallel=yes: must be on or off",
		"order=tp,pp":                    "invalid plan value: order=tp,pp: must list some of dp, cp, sp, tp",
		"dp=2 tp=2 order=tp":             "invalid plan value: order=tp: must list dp, whose degree is 2",
		"layers=1:dp=2":                  `invalid plan value: layers=1:dp=2: "1:dp=2" must be a range that begins at layer 0, as 0-3:dp=2`,
		"layers=0-1:dp=2;3:dp=2":         `invalid plan value: layers=0-1:dp=2;3:dp=2: "3:dp=2" must be a range that begins at layer 2`,
		"layers=0:pd=2":                  "unknown plan key: pd=2: did you mean dp?",
		"layers=0:dp=2;1:tp=4":           "invalid plan value: layers: layer 1 (tp=4) has 4 ranks, layer 0 (dp=2) has 2: ranks 2 to 3 are missing from layer 0: choose degrees whose product is 2 for layer 1, or 4 for all layers",
		"layers=0:dp=2,tp=3;1:dp=3,tp=2": "invalid plan value: layers: layer 0 (dp=2 tp=3) splits 6 ranks into parts of 3, layer 1 (dp=3 tp=2) into parts of 2, which have no common mesh: choose order=tp,dp for layer 1, or other degrees",
		"layers=0:tp=2,dp=2;1:tp=3":      "invalid plan value: layers: layer 1 (tp=3) has 3 ranks, layer 0 (dp=2 tp=2) has 4: rank 3 is missing from layer 1: choose degrees whose product is 4 for layer 1, or 3 for all layers",
	} {
		_, err := Parse(text)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: error %v\nexpected %s", text, err, want)
			continue
		}
		var key *KeyError
		var value *ValueError
		var ranks *RanksError
		var mesh *MeshError
		if !errors.As(err, &key) && !errors.As(err, &value) && !errors.As(err, &ranks) && !errors.As(err, &mesh) {
			t.Errorf("%q: error of type %T", text, err)
		}
	}
}

// drawStrategy draws any strategy of so many ranks.
func drawStrategy(t *rapid.T, ranks int) Strategy {
	s := Strategy{
		DP: 1, TP: 1, ZeRO: rapid.IntRange(0, 3).Draw(t, "zero"), Checkpoint: rapid.Bool().Draw(t, "ckpt"),
		SequenceParallel: rapid.Bool().Draw(t, "sequence_parallel"),
	}
	for _, d := range []*int{&s.TP, &s.SP, &s.CP} {
		*d = rapid.SampledFrom(divisors(ranks)).Draw(t, "degree")
		ranks /= *d
	}
	s.DP = ranks
	if s = s.normal(); rapid.Bool().Draw(t, "ordered") {
		s.Order = Order(strings.Join(rapid.Permutation([]string{"dp", "cp", "sp", "tp"}).Draw(t, "order"), ","))
	}
	return s
}

// drawPlan draws any plan that is valid for some model.
func drawPlan(t *rapid.T) *Plan {
	degree := rapid.IntRange(1, 64)
	p := &Plan{
		PP:       degree.Draw(t, "pp"),
		Strategy: drawStrategy(t, degree.Draw(t, "ranks")),
		Micro:    degree.Draw(t, "micro"),
		Schedule: rapid.SampledFrom(Schedules()).Draw(t, "schedule"),
	}
	if rapid.Bool().Draw(t, "listed") {
		p.Stages = rapid.SliceOfN(degree, 1, 5).Draw(t, "stages")
	}
	for range rapid.IntRange(0, 4).Draw(t, "layers") {
		p.Layers = append(p.Layers, drawStrategy(t, 8))
	}
	return p
}

func TestTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		words := strings.Fields(p.String())
		got, err := Parse(strings.Join(rapid.Permutation(words).Draw(t, "order"), " "))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		p.Provenance.Model = rapid.SampledFrom([]string{"", "gpt2"}).Draw(t, "model")
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var got Plan
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, &got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestJSONTranscript(t *testing.T) {
	p := plan(t, "pp=2 dp=2 micro=4 stages=1,2")
	p.Layers = slices.Repeat([]Strategy{p.Strategy}, 5)
	p.Provenance = Provenance{Model: "gpt2", Planner: "galvani 0.1"}
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.json", string(data)+"\n")
}

func TestJSONErrors(t *testing.T) {
	good, err := json.Marshal(plan(t, "pp=2 dp=2 micro=4"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`{"schema"`, `["schema"`, "plan: "},
		{"plan/v1", "plan/v9", `schema="galvani/plan/v9": this version reads "galvani/plan/v1"`},
		{`"schema":`, `"shema":`, `schema=""`},
		{`"micro_batches"`, `"micro"`, `unknown field "micro"`},
		{`"axis":"pp"`, `"axis":"xx"`, "mesh=xx=2 dp=2: the first axis must be pp"},
		{`"axis":"dp","size":2`, `"axis":"dp","size":3`, "mesh=pp=2 dp=3: it has 6 ranks, the strategies 4: the strategies make it pp=2 dp=2"},
		{`{"axis":"dp","size":2}`, `{"axis":"dp","size":2},{"axis":"dp","size":2}`, "mesh=pp=2 dp=2 dp=2: axis dp is there twice: the strategies make it pp=2 dp=2"},
		{`"micro_batches":4`, `"micro_batches":0`, "micro=0"},
		{`"1f1b"`, `"zb"`, "schedule=zb"},
		{`"zero":0`, `"zero":9`, "zero=9"},
	} {
		bad := strings.Replace(string(good), c.old, c.new, 1)
		var p Plan
		if err := json.Unmarshal([]byte(bad), &p); err == nil || c.old != `{"schema"` && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v\nexpected %s", bad, err, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		plan                   string
		blocks, workers, batch int
		want                   string // empty: valid
	}{
		{"pp=2 dp=2 micro=4", 4, 4, 16, ""},
		{"pp=2 stages=3,5", 8, 2, 3, ""},
		{"pp=2 dp=2", 4, 3, 4, "plan for more workers than there are: pp=2 dp=2 tp=1 takes 4, there are 3: start 4 workers or choose a plan with pp*dp*tp = 3"},
		{"dp=2", 4, 3, 4, "plan for fewer workers than there are: pp=1 dp=2 tp=1 takes 2, there are 3: start 2 workers or choose a plan with pp*dp*tp = 3"},
		{"dp=2 micro=4", 4, 2, 12, "batch does not divide: batch 12, dp*micro = 2*4 = 8: with dp=2 choose micro of 1, 2, 3, 6, or choose a batch of 8 or 16"},
		{"dp=4", 4, 4, 6, "batch does not divide: batch 6, dp*micro = 4*1 = 4: with micro=1 choose dp of 1, 2, 3, 6, or choose a batch of 4 or 8"},
		{"dp=4", 4, 4, 2, "batch does not divide: batch 2, dp*micro = 4*1 = 4: with micro=1 choose dp of 1, 2, or choose a batch of 4"},
		{"dp=4", 4, 4, 0, "batch does not divide: batch 0, dp*micro = 4*1 = 4: choose a batch of 4"},
		{"pp=4", 3, 4, 4, "stages do not fit the model: pp=4, 3 blocks: more stages than blocks: choose pp of 1 to 3"},
		{"pp=2 stages=3,4", 8, 2, 4, "stages do not fit the model: pp=2 stages=3,4, 8 blocks: the stages hold 7 blocks: list 2 stages of at least 1 block, 8 in all, as stages=4,4"},
		{"pp=2 stages=8,0", 8, 2, 4, "stages do not fit the model: pp=2 stages=8,0, 8 blocks: stage 1 is without layers: list 2 stages of at least 1 block, 8 in all, as stages=4,4"},
		{"dp=2 micro=3", 4, 2, 9, "batch does not divide: batch 9, dp*micro = 2*3 = 6: with micro=3 choose dp of 1, 3, or choose a batch of 6 or 12"},
		{"dp=2 micro=2", 4, 2, 9, "batch does not divide: batch 9, dp*micro = 2*2 = 4: choose dp*micro of 1, 3, 9, or choose a batch of 8 or 12"},
		{"pp=2 stages=2,3,3", 8, 2, 4, "stages do not fit the model: pp=2 stages=2,3,3, 8 blocks: 3 stages listed: list 2 stages of at least 1 block, 8 in all, as stages=4,4"},
		{"tp=2 zero=3 ckpt=all", 4, 2, 4, ""},
	} {
		err := plan(t, c.plan).Validate(Facts{Blocks: c.blocks}, c.workers, c.batch)
		if got := textOf(err); got != c.want {
			t.Errorf("%s: %s\nexpected %s", c.plan, got, c.want)
		}
	}
}

// TestValidateDegrees checks plans against the dimensions of a model of 6 heads,
// an inner width of 12, 6 tokens and a vocabulary of 11.
func TestValidateDegrees(t *testing.T) {
	model := toy{blocks: 2, batch: 1, seq: toySeq, vocab: 11}
	for text, want := range map[string]string{
		"tp=2":      "",
		"tp=4":      "tp=4 does not fit layer 1 (h.0): 6 attention heads do not divide among 4 ranks: choose tp of 1, 2, 3, 6",
		"sp=4":      "sp=4 does not fit layer 0 (embedding): 6 tokens of a sequence do not divide among 4 ranks: choose sp of 1, 2, 3, 6",
		"sp=2 tp=2": "sp=2 does not fit layer 1 (h.0): 6 attention heads do not divide among 4 ranks: choose sp of 1, 3",
		"cp=4":      "cp=4 does not fit layer 0 (embedding): 6 tokens of a sequence do not divide among 4 ranks: choose cp of 1, 2, 3, 6",
		"layers=0:dp=2,sp=3;1:dp=6,order=dp;2:dp=2,sp=3;3:dp=2,sp=3": "batch does not divide: batch 4, dp*micro = 6*1 = 6 of layer 1 (h.0): with micro=1 choose dp of 1, 2, 4, or choose a batch of 6",
		"cp=3 sp=3":                          "sp=3 does not fit layer 0 (embedding): 6 tokens of a sequence do not divide among 9 ranks: choose sp of 1, 2",
		"cp=2 tp=2 sequence_parallel=on":     "tp=2 does not fit layer 0 (embedding): 6 tokens of a sequence do not divide among 4 ranks: choose tp of 1, 3",
		"layers=0:dp=4;1:dp=4;2:tp=4;3:dp=4": "tp=4 does not fit layer 2 (h.1): 6 attention heads do not divide among 4 ranks: choose tp of 1, 2, 3, 6",
		"layers=0:dp=4;1:dp=4;2:tp=4":        "invalid plan value: layers=3: the plan must list the model's 4 layers, or none",
	} {
		p := plan(t, text)
		if got := textOf(p.Validate(FactsOf(model.build(t)), p.Mesh().Size(), 4)); got != want {
			t.Errorf("%s: %s\nexpected %s", text, got, want)
		}
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestValidateBuiltPlans checks what Parse would not let through.
func TestValidateBuiltPlans(t *testing.T) {
	change := func(f func(p *Plan)) *Plan { p := Default(); f(p); return p }
	var value *ValueError
	var stages *StagesError
	var ranks *RanksError
	var mesh *MeshError
	for name, c := range map[string]struct {
		plan *Plan
		as   any
	}{
		"zero value":                {&Plan{}, &value},
		"no micro-batches":          {change(func(p *Plan) { p.Micro = 0 }), &value},
		"unknown schedule":          {change(func(p *Plan) { p.Schedule = "zb" }), &value},
		"empty stage":               {change(func(p *Plan) { p.Stages = []int{0} }), &stages},
		"layers missing":            {change(func(p *Plan) { p.Layers = []Strategy{p.Strategy} }), &value},
		"layers of different ranks": {change(func(p *Plan) { p.Layers = []Strategy{{DP: 2, TP: 1}, {DP: 3, TP: 1}} }), &ranks},
		"no common mesh":            {change(func(p *Plan) { p.Layers = []Strategy{{DP: 2, TP: 3}, {DP: 3, TP: 2}} }), &mesh},
		"a role twice":              {change(func(p *Plan) { p.Order = "dp,dp" }), &value},
		"a role left out":           {change(func(p *Plan) { p.DP, p.Order = 2, "tp" }), &value},
	} {
		err := c.plan.Validate(Facts{Blocks: 4}, 1, 4)
		if err == nil || !errors.As(err, c.as) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestEvenSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blocks := rapid.IntRange(1, 40).Draw(t, "blocks")
		p := Default()
		p.PP = rapid.IntRange(1, blocks).Draw(t, "pp")
		f := Facts{Blocks: blocks}
		stages := p.BlocksPerStage(f)
		sum := 0
		for _, n := range stages {
			sum += n
		}
		if sum != blocks || len(stages) != p.PP || slices.Max(stages)-slices.Min(stages) > 1 {
			t.Fatalf("%d blocks on %d stages: %v", blocks, p.PP, stages)
		}
		layers := p.stageOfLayer(f)
		if len(layers) != blocks+2 || !slices.IsSorted(layers) || layers[0] != 0 || layers[blocks+1] != p.PP-1 {
			t.Fatalf("layers on stages %v", layers)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"pp=2 dp=2 tp=1 zero=3 ckpt=all micro=4 schedule=1f1b stages=3,5",
		"layers=0-1:dp=4,zero=3;2:tp=2,dp=2,order=tp,dp,ckpt=all;3:", "sp=2 cp=2 sequence_parallel=on order=cp,sp", "layers=0:order=dp,,;1",
		"pp=32768 dp=32768 tp=32768 sp=32768 cp=32768", "layers=0-32767:dp=2;32768:dp=2", "pp=2", "", "=", "stages=", "stages=1,1,", "dp==2", "micro=+4", "micro=004", "zero=\x00",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(p.String())
		if err != nil {
			t.Fatalf("%q gives %v, which is not read: %v", text, p, err)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzPlanJSON(f *testing.F) {
	data, err := json.Marshal(Default())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"schema":"galvani/plan/v1"}`))
	f.Add([]byte(`{"schema":"galvani/plan/v1","mesh":[{"axis":"pp","size":1},{"axis":"dp","size":2}],"micro_batches":1,"schedule":"1f1b","strategy":{"dp":1,"tp":1,"zero":0,"checkpoint":false},"layers":[{"dp":2,"tp":1,"zero":3,"checkpoint":true},{"dp":1,"tp":2,"zero":0,"checkpoint":false,"order":["tp","dp"]}]}`))
	f.Add([]byte(`{"schema":"galvani/plan/v1","mesh":[{"axis":"pp","size":32768},{"axis":"dp","size":32768}],"micro_batches":1,"schedule":"1f1b","strategy":{"dp":32768,"tp":32768,"sp":32768,"cp":32768}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Plan
		if json.Unmarshal(data, &p) != nil {
			return
		}
		if _, err := Parse(p.String()); err != nil && len(p.Stages) == 0 {
			t.Fatalf("%s: %v", p.String(), err)
		}
	})
}
