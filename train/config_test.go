package train

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/goccy/go-yaml"
)

func TestConfigFileErrorsGiveThePlace(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"steps: 10\nbacth: 3\n", `2:1: unknown key "bacth": did you mean "batch"?`},
		{"batch: many\n", "1:8: "},
		{"batch: 3\nbatch: 4\n", "2:1: "},
		{"memory: 3 parsecs\n", "3 parsecs"},
		{"betas: [0.9\n", "1:"},
		{"- batch\n", "1:"},
		{"batch: 3\n  steps: 4\n", "1:8: "},
	} {
		_, err := parseConfig([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.text, err, c.want)
		}
	}
}

func TestConfigYAMLReadsBack(t *testing.T) {
	want := Config{Model: "gpt2", Batch: 3, LR: 1e-3, Betas: Betas{0.9, 0.95}, Memory: 200 << 20, Plan: "pp=2 micro=3", Seed: 1 << 63, DisablePass: []exec.Pass{exec.InPlace, exec.Epilogue}}
	text, err := want.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseConfig(text); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var got Config
	if err := yaml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read back\n%+v\nwrote\n%+v", got, want)
	}
}

// A file whose aliases stand for 10^20 values is refused at once.
func TestConfigAliases(t *testing.T) {
	text := "disable-pass: [&a0 [x]"
	for i := range 20 {
		text += fmt.Sprintf(", &a%d [%s]", i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 10))
	}
	if _, err := parseConfig([]byte(text + "]\n")); err == nil || !strings.Contains(err.Error(), "1:30: aliases are not read") {
		t.Errorf("%v", err)
	}
}

func FuzzConfigFile(f *testing.F) {
	for _, seed := range []string{"", "disable-pass: [&a [x, x], &b [*a, *a], &c [*b, *b]]\n", "batch: 3\n", "betas: 0.9,0.95\nmemory: 1GiB\n", "a: &x [*x]\n", "? !!set {a}\n", "batch: |\n  3\n",
		"model: {a: &a [x, x], b: &b [*a, *a]}\n", "model: &a [*a]\n", "disable-pass: [[[[a]]]]\n", "- - - -", "? ? a", "nats: \"\\xff\"\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := parseConfig(text); err == nil {
			var c Config
			if err := yaml.UnmarshalWithOptions(text, &c, yaml.Strict()); err != nil {
				t.Errorf("accepted %q, which does not decode: %v", text, err)
			}
		}
	})
}
