package launch

import (
	"slices"
	"strings"
)

// environment is what a worker inherits: all but the address of the NATS server,
// which may hold a password and comes with the invitation.
func environment(ours []string) []string {
	return slices.DeleteFunc(slices.Clone(ours), func(v string) bool { return strings.HasPrefix(v, "GALVANI_NATS=") })
}
