package simulate

import (
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/parallel"
	"pgregory.net/rapid"
)

// TestText draws both schedules, and numbers that find no room.
func TestText(t *testing.T) {
	for _, c := range []struct {
		schedule     parallel.Schedule
		micro, width int
		wanted       string
	}{
		{parallel.GPipe, 3, 24, `
stage 0  F0F1F2......B0--B1--B2--
stage 1  ..F0F1F2B0--B1--B2--....`},
		{parallel.OneFOneB, 3, 24, `
stage 0  F0F1....B0--F2B1--..B2--
stage 1  ..F0B0--F1B1--F2B2--....`},
		{parallel.OneFOneB, 11, 36, `
stage 0  FF..B0FB1FB2FB3FB4FB5FB6FB7FB8FB9.B0
stage 1  .FB0FB1FB2FB3FB4FB5FB6FB7FB8FB9FB0..`},
	} {
		j := &Job{Stages: []Stage{plain(2, 4), plain(2, 4)}, Micro: c.micro, Schedule: c.schedule}
		got := run(t, j).Text(c.width)
		got = "\n" + strings.Join(strings.SplitAfterN(got, "\n", 3)[:2], "")
		if strings.TrimSpace(got) != strings.TrimSpace(c.wanted) {
			t.Errorf("%s:%s\nexpected:%s", c.schedule, got, c.wanted)
		}
	}
}

// TestTextFits draws any job in any width: rows are filled and have no other
// characters.
func TestTextFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		timeline := run(t, drawJob(t, true))
		width := rapid.IntRange(-1, 60).Draw(t, "width")
		rows := strings.Split(timeline.Text(width), "\n")
		if len(rows) != len(timeline.Stages)+2 {
			t.Fatal(rows)
		}
		for _, row := range rows[:len(timeline.Stages)] {
			row = row[len("stage 0  "):]
			if timeline.Step > 0 && len(row) != max(1, width) || strings.Trim(row, "FBU0123456789-~.") != "" {
				t.Fatalf("%q is not %d wide", row, width)
			}
		}
	})
}
