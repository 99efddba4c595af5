package train

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"
)

// progress shows a run to a person: facts as lines, and the current step as
// one live line on a terminal or as a line now and then elsewhere.
type progress struct {
	w     io.Writer
	live  bool
	width int
	every int // steps between lines where the line is not live
	steps int
	open  bool // a live line is on screen
	start time.Time
	from  int // step the run started at
}

// progressLines is about how many step lines a run prints into a file.
const progressLines = 20

func newProgress(w io.Writer, from, steps int) *progress {
	p := &progress{w: w, width: 200, steps: steps, from: from, every: max(1, (steps-from)/progressLines)}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.live = true
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			p.width = width
		}
	}
	return p
}

// fact prints a line "name  text".
func (p *progress) fact(name, format string, args ...any) {
	p.closeLine()
	fmt.Fprintf(p.w, "%-11s %s\n", name, fmt.Sprintf(format, args...))
}

// step shows the state after a step.
func (p *progress) step(m Metrics) {
	if p.start.IsZero() {
		// The first step includes what happens once; time left is judged from
		// here on.
		p.start, p.from = time.Now(), m.Step
	}
	line := stepLine(m, p.steps, p.left(m.Step))
	switch {
	case p.live:
		fmt.Fprintf(p.w, "\r\x1b[K%.*s", p.width-1, line)
		p.open = true
	case m.Step%p.every == 0 || m.Step == p.steps || m.Step == 1:
		fmt.Fprintln(p.w, line)
	}
}

// again has the time left judged anew: other workers go on.
func (p *progress) again() { p.start = time.Time{} }

// left estimates the time to the last step.
func (p *progress) left(step int) time.Duration {
	if step <= p.from {
		return 0
	}
	perStep := time.Since(p.start) / time.Duration(step-p.from)
	return perStep * time.Duration(p.steps-step)
}

// closeLine ends a live line, so that other text starts on its own.
func (p *progress) closeLine() {
	if p.open {
		fmt.Fprintln(p.w)
		p.open = false
	}
}

func stepLine(m Metrics, steps int, left time.Duration) string {
	line := fmt.Sprintf("step %5d/%d  loss %.4f  %s tok/s  %s  mem %s planned %s used",
		m.Step, steps, m.Loss, humanize.Comma(int64(m.TokensPerSecond)), flops(m.TFLOPS),
		Size(m.PlannedBytes), Size(m.PeakBytes))
	if left > 0 {
		line += "  " + left.Round(time.Second).String() + " left"
	}
	return line
}

// flops prints a rate given in TFLOP/s, which is small on a CPU.
func flops(tera float64) string { return fmt.Sprintf("%.3f TFLOP/s", tera) }
