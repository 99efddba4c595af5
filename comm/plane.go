package comm

import (
	"fmt"
	"slices"
	"strings"
)

// Plane is a way for tensors from one rank to another.
type Plane string

// The planes. All give the same bits.
const (
	Auto Plane = "auto" // for each pair of ranks the first that works, of those below from the last to the first
	NATS Plane = "nats" // frames through the NATS server; always works
	TCP  Plane = "tcp"  // a connection between the two ranks
	SHM  Plane = "shm"  // memory that the two ranks share, on one host
)

// preferred are the planes that [Auto] tries before NATS, the best first.
var preferred = []Plane{SHM, TCP}

// ParsePlane reads a plane's name.
func ParsePlane(name string) (Plane, error) {
	if p := Plane(name); p == Auto || p == NATS || slices.Contains(preferred, p) {
		return p, nil
	}
	return "", fmt.Errorf("comm: no data plane is named %q: there are auto, nats, tcp, shm", name)
}

// Routes say which plane carries what goes between any two ranks.
type Routes struct {
	Hosts []int     // of each rank, counted from 0
	Plane [][]Plane // by rank and rank, symmetric; empty on the diagonal
	Notes []string  // why a better plane was not used
}

// newRoutes are those of a transport that has NATS alone.
func newRoutes(size int) Routes {
	r := Routes{Hosts: make([]int, size), Plane: make([][]Plane, size)}
	for a := range size {
		r.Plane[a] = make([]Plane, size)
		for b := range size {
			if a != b {
				r.Plane[a][b] = NATS
			}
		}
	}
	return r
}

// String tells planes and ranks as in "shm (4 ranks on one host)", or, if there
// are several planes, how many pairs of ranks each of them joins.
func (r Routes) String() string {
	var planes []Plane
	pairs := map[Plane]int{}
	for a := range r.Plane {
		for _, p := range r.Plane[a][:a] {
			if pairs[p]++; pairs[p] == 1 {
				planes = append(planes, p)
			}
		}
	}
	slices.Sort(planes)
	var names []string
	for _, p := range planes {
		name := string(p)
		if len(planes) > 1 {
			name += fmt.Sprintf(" for %s", counted(pairs[p], "pair"))
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		names = []string{"none"}
	}
	hosts := slices.Max(append(r.Hosts, 0)) + 1
	where := fmt.Sprintf("%d hosts", hosts)
	if hosts == 1 {
		where = "one host"
	}
	return fmt.Sprintf("%s (%s on %s)", strings.Join(names, ", "), counted(len(r.Hosts), "rank"), where)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
