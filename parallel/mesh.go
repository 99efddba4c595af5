package parallel

import "slices"

// Names of the axes a plan makes, outermost first, and of the group of all
// ranks.
const (
	AxisPP = "pp"
	AxisDP = "dp"
	AxisCP = "cp"
	AxisSP = "sp"
	AxisTP = "tp"
	World  = "world"
)

// Axis is a named dimension of the mesh.
type Axis struct {
	Name string `json:"axis"`
	Size int    `json:"size"`
}

// Mesh arranges the ranks along axes, outermost first: neighbours along the
// last axis have consecutive ranks. The order is that of the strategy tree's
// levels, root first, so the axes with the most traffic come last, where ranks
// share a host.
type Mesh []Axis

// Size returns the number of ranks.
func (m Mesh) Size() int {
	size := 1
	for _, a := range m {
		size *= a.Size
	}
	return size
}

// Coord returns the coordinates of a rank, one an axis.
func (m Mesh) Coord(rank int) []int {
	coord := make([]int, len(m))
	for i, a := range slices.Backward(m) {
		coord[i] = rank % a.Size
		rank /= a.Size
	}
	return coord
}

// Rank is the inverse of Coord.
func (m Mesh) Rank(coord []int) int {
	rank := 0
	for i, a := range m {
		rank = rank*a.Size + coord[i]
	}
	return rank
}

// Index returns the position of an axis, -1 for one the mesh lacks.
func (m Mesh) Index(axis string) int {
	return slices.IndexFunc(m, func(a Axis) bool { return a.Name == axis })
}

// Group returns the ranks that differ from rank in the given axis only, in
// order of their coordinate; nil for an axis the mesh lacks.
func (m Mesh) Group(axis string, rank int) []int {
	i := m.Index(axis)
	if i < 0 {
		return nil
	}
	coord := m.Coord(rank)
	group := make([]int, m[i].Size)
	for c := range group {
		coord[i] = c
		group[c] = m.Rank(coord)
	}
	return group
}

// GroupOf returns the ranks that differ from rank in the given axes only, in
// order of their coordinates, the last axis varying fastest.
func (m Mesh) GroupOf(axes []string, rank int) []int {
	group := []int{rank}
	for _, a := range axes {
		var wider []int
		for _, r := range group {
			wider = append(wider, m.Group(a, r)...)
		}
		group = wider
	}
	return group
}

// Groups returns all groups that a rank belongs to: one an axis, and World.
func (m Mesh) Groups(rank int) map[string][]int {
	groups := map[string][]int{World: make([]int, m.Size())}
	for r := range m.Size() {
		groups[World][r] = r
	}
	for _, a := range m {
		groups[a.Name] = m.Group(a.Name, rank)
	}
	return groups
}
