package parallel

import (
	"os"
	"strings"
	"testing"
)

// TestPlansAreDocumented finds every key of a plan in the table of docs/plans.md,
// and reads the plans of its examples.
func TestPlansAreDocumented(t *testing.T) {
	content, err := os.ReadFile("../docs/plans.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	for _, k := range planKeys {
		if !strings.Contains(text, "`"+k.name+"=") {
			t.Errorf("docs/plans.md does not tell of %s=", k.name)
		}
	}
	examples := 0
	for line := range strings.Lines(text) {
		_, plan, found := strings.Cut(strings.TrimSpace(line), "--plan '")
		if !found {
			continue
		}
		examples++
		if _, err := Parse(strings.TrimSuffix(plan, "'")); err != nil {
			t.Errorf("%s: %v", plan, err)
		}
	}
	if examples == 0 {
		t.Error("no examples")
	}
}
