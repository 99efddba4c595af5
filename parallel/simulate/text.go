package simulate

import (
	"fmt"
	"strconv"
	"strings"
)

// legend tells what [Timeline.Text] draws.
const legend = "F3 forward pass of micro-batch 3, B3 backward, U update, ~ waiting for an exchange, . for another stage"

// Text draws the stages as rows of so many characters, at least 1, of equal time.
// A row shows what the computation does in the middle of each; exchanges beside
// it are not seen. Of a number that finds no room its last digits are left.
func (t *Timeline) Text(width int) string {
	width = max(1, width)
	rows := make([][]byte, len(t.Stages))
	for i := range rows {
		rows[i] = []byte(strings.Repeat(" ", width))
	}
	passes := make([]drawing, len(t.Stages))
	for i := range t.Events {
		e := &t.Events[i]
		if e.Kind == Exchanging {
			continue
		}
		from, to := t.cell(e.Start, width), t.cell(e.End, width)
		passes[e.Stage].event(e, rows[e.Stage][from:max(from, to)])
	}
	var b strings.Builder
	digits := len(strconv.Itoa(len(rows) - 1))
	for i, row := range rows {
		fmt.Fprintf(&b, "stage %*d  %s\n", digits, i, strings.TrimRight(string(row), " "))
	}
	fmt.Fprintf(&b, "%s%s: %s\n", strings.Repeat(" ", len("stage ")+digits+2), seconds(t.Step), legend)
	return b.String()
}

// cell is the first cell whose middle is not before a time.
func (t *Timeline) cell(at float64, width int) int {
	if t.Step == 0 {
		return 0
	}
	middle := at/t.Step*float64(width) - 0.5
	cell := int(middle)
	if float64(cell) < middle {
		cell++
	}
	return min(max(0, cell), width)
}

// drawing is where the drawing of a stage's pass stands.
type drawing struct {
	pass  Pass
	micro int
	begun bool
	label string // what of it is still to be written
}

// event draws an event into its cells.
func (d *drawing) event(e *Event, cells []byte) {
	fill := byte('-')
	switch e.Kind {
	case Stall:
		fill = '~'
	case Bubble:
		fill = '.'
	}
	if e.Kind == Compute && (!d.begun || d.pass != e.Pass || d.micro != e.Micro) {
		*d = drawing{e.Pass, e.Micro, true, label(e, len(cells))}
	}
	for i := range cells {
		cells[i] = fill
		if e.Kind == Compute && d.label != "" {
			cells[i], d.label = d.label[0], d.label[1:]
		}
	}
}

// label is the name of a pass whose first task has so much room.
func label(e *Event, room int) string {
	if e.Pass == Update {
		return "U"
	}
	digits := strconv.Itoa(e.Micro)
	digits = digits[max(0, len(digits)-max(0, room-1)):]
	return strings.ToUpper(e.Pass.String()[:1]) + digits
}

// seconds gives a time with three digits, in a unit that suits it.
func seconds(s float64) string {
	switch {
	case s >= 1 || s == 0:
		return fmt.Sprintf("%.3g s", s)
	case s >= 1e-3:
		return fmt.Sprintf("%.3g ms", s*1e3)
	}
	return fmt.Sprintf("%.3g us", s*1e6)
}
