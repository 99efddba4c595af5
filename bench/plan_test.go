package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/internal/shared"
)

// planned runs the suite and reads its lines.
func searched(t *testing.T, cases, write string) []Result {
	t.Helper()
	var out bytes.Buffer
	if err := Plan(context.Background(), PlanOptions{Cases: cases, Write: write, JSON: true}, &out); err != nil {
		t.Fatal(err)
	}
	var list []Result
	for d := json.NewDecoder(&out); d.More(); {
		var r Result
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func TestPlanCases(t *testing.T) {
	dir := t.TempDir()
	var got []string
	for _, r := range searched(t, filepath.Join("..", "parallel", "galvatron", "testdata", "cases"), dir) {
		got = append(got, strings.TrimSpace(r.Case+" "+r.From+" "+r.Status))
		if r.Suite != "plan" || r.Name != r.Case || r.Value != r.OurCost || r.MemoryMB > r.BudgetMB {
			t.Errorf("%+v %+v", r, r.Planning)
		}
	}
	want := []string{
		"2.0-small tables cheaper", "3.0-indivisible tables refused", "3.0-indivisible profiles refused", "3.0-small tables cheaper",
		"3.0-small profiles cheaper", "vldb-infeasible tables infeasible", "vldb-small tables cheaper",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	written, err := os.ReadFile(filepath.Join(dir, "galvatron_config_3.0-small.json"))
	if err != nil || !json.Valid(written) {
		t.Errorf("%s: %v", written, err)
	}
}

// TestPlanRecorded: on every recorded case that is there, our plan costs at most
// theirs and fits.
func TestPlanRecorded(t *testing.T) {
	for _, r := range searched(t, shared.Path(t, "cases", "galvatron"), "") {
		switch r.Status {
		case planCheaper, planEqual, planInfeasible:
		case planRefused:
			if !strings.HasPrefix(r.Case, "g3-14") {
				t.Errorf("%s from %s was refused: %s", r.Case, r.From, r.Note)
			}
		case planSkipped:
			if !strings.HasPrefix(r.Case, "g24") {
				t.Errorf("%s was skipped: %s", r.Case, r.Note)
			}
		default:
			t.Errorf("%s from %s: %s, %v s of %v", r.Case, r.From, r.Status, r.OurCost, r.TheirCost)
		}
		if r.MemoryMB > r.BudgetMB {
			t.Errorf("%s: %d MB of %d", r.Case, r.MemoryMB, r.BudgetMB)
		}
	}
}

func TestPlanTable(t *testing.T) {
	var got bytes.Buffer
	report := planReport(&got, false)
	for _, p := range []*Planning{
		{Case: "cheaper", From: "profiles", Status: planCheaper, OurCost: 1.5, TheirCost: 1.6, Ratio: 0.9375, MemoryMB: 19661, BudgetMB: 19661, Search: 0.0123},
		{Case: "unfit", From: "tables", Status: planInfeasible, BudgetMB: 8192, Search: 0.0002},
		{Case: "odd", From: "tables", Status: planRefused, TheirCost: 2.5, BudgetMB: 8192, Note: "batch 12 in 4 micro-batches does not divide among 2 replicas: 4 samples would be left out of the price"},
		{Case: "unread", Status: planSkipped, Note: "no result.json"},
	} {
		if err := report(planResult(p)); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/plan.txt", got.String())
}
