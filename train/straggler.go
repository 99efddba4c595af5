package train

import (
	"fmt"
	"slices"
	"time"
)

// A worker is a straggler whose own computation takes slowFactor times as long
// as that of the others of its pipeline stage, in the sum over slowSteps steps
// and in most of them.
const (
	slowSteps  = 50
	slowFactor = 1.5
)

// stragglers watches for workers that are slower than those with the same work.
type stragglers struct {
	stageRanks int          // ranks of a pipeline stage; they follow one another
	steps      int          // since the last verdict
	sums       []float64    // seconds of computation by rank
	slow       []int        // steps in which a rank was slow
	named      map[int]bool // said to be slow, and still
}

func newStragglers(ranks, stages int) *stragglers {
	return &stragglers{stageRanks: ranks / stages, sums: make([]float64, ranks), slow: make([]int, ranks), named: map[int]bool{}}
}

// add takes in the seconds that each rank computed in a step, and returns what
// is to be said: who became a straggler, or ceased to be one.
func (s *stragglers) add(seconds []float64) (lines []string) {
	if s.stageRanks < 2 {
		return nil
	}
	for rank, x := range seconds {
		s.sums[rank] += x
		if x > slowFactor*s.others(seconds, rank) {
			s.slow[rank]++
		}
	}
	if s.steps++; s.steps < slowSteps {
		return nil
	}
	for rank, sum := range s.sums {
		others := s.others(s.sums, rank)
		slow := sum > slowFactor*others && s.slow[rank] > slowSteps*3/4
		if slow && !s.named[rank] {
			each := func(sum float64) time.Duration {
				return time.Duration(sum / slowSteps * float64(time.Second)).Round(10 * time.Microsecond)
			}
			lines = append(lines, fmt.Sprintf("worker %d computes %v a step, the others of its stage %v, in the last %d steps: look for other load on its processor",
				rank, each(sum), each(others), slowSteps))
		}
		if !slow && s.named[rank] {
			lines = append(lines, fmt.Sprintf("worker %d computes as fast as the others again", rank))
		}
		s.named[rank] = slow
	}
	s.steps = 0
	clear(s.sums)
	clear(s.slow)
	return lines
}

// others is the median over the other ranks of a rank's stage.
func (s *stragglers) others(x []float64, rank int) float64 {
	first := rank / s.stageRanks * s.stageRanks
	var rest []float64
	for r := first; r < first+s.stageRanks; r++ {
		if r != rank {
			rest = append(rest, x[r])
		}
	}
	slices.Sort(rest)
	return rest[len(rest)/2]
}
