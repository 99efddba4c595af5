package cluster

import "fmt"

// ValueError is a value that a key of a cluster cannot have.
type ValueError struct {
	Key     string // as "links[0].span"
	Value   string
	Problem string // and what works
}

// Error names the key, the value, and what works.
func (e *ValueError) Error() string {
	return fmt.Sprintf("invalid cluster value: %s=%s: %s", e.Key, e.Value, e.Problem)
}
