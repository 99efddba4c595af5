package comm

import (
	"crypto/rand"
	"fmt"
	"strings"
)

// Job names one life of a job. Each restart raises the epoch, which is part of
// every subject and frame, so that nothing of an earlier life gets through.
type Job struct {
	ID    string // letters, digits, - and _
	Epoch uint32
}

// NewJob returns the first epoch of a job with a random ID.
func NewJob() Job { return Job{ID: strings.ToLower(rand.Text()[:12]), Epoch: 1} }

// Next returns the epoch after this one of the same job.
func (j Job) Next() Job { return Job{ID: j.ID, Epoch: j.Epoch + 1} }

// subject joins the prefix of the job and the parts with dots.
func (j Job) subject(parts ...string) string {
	return fmt.Sprintf("gt.%s.%d.%s", j.ID, j.Epoch, strings.Join(parts, "."))
}

func (j Job) check() error { return checkToken("job ID", j.ID) }

// checkToken refuses what cannot be one token of a subject.
func checkToken(what, s string) error {
	if s == "" || len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) {
		return fmt.Errorf("comm: %s %q: use 1 to 64 letters, digits, - and _", what, s)
	}
	return nil
}
