package planning

import (
	"fmt"
	"strings"
	"time"
)

// Reasons says in a few lines what a plan was chosen over.
func (p *Problem) Reasons(f *Found) ([]string, error) {
	report, err := p.Report(f.Evaluation)
	if err != nil {
		return nil, err
	}
	report.WithOthers(f.Choice)
	reasons := []string{fmt.Sprintf("predicted %v a step, of which %s", Duration(f.Step), strings.Join(report.Split.Parts(f.Step), ", "))}
	for _, x := range report.Others {
		if x.Lacks == 0 && !x.Bound {
			reasons = append(reasons, fmt.Sprintf("next best, with %s: %+.1f%%", x.Cell, 100*x.Change))
			break
		}
	}
	for _, x := range report.Runs {
		if a := x.TooLarge; a != nil {
			reasons = append(reasons, fmt.Sprintf("layers %d-%d would be faster with %s (%+.1f%% of a step), which needs more memory", x.First, x.Last, a.Text, 100*a.Change))
			break
		}
	}
	return reasons, nil
}

// Duration rounds seconds to three digits or so.
func Duration(seconds float64) time.Duration {
	d := time.Duration(seconds * float64(time.Second))
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}
