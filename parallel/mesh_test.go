package parallel

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestMesh checks that coordinates and ranks are inverse, and that the groups of
// each axis divide the ranks.
func TestMesh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 4)
		m := Mesh{{AxisPP, size.Draw(t, "pp")}, {AxisDP, size.Draw(t, "dp")}, {AxisTP, size.Draw(t, "tp")}}
		for rank := range m.Size() {
			if got := m.Rank(m.Coord(rank)); got != rank {
				t.Fatalf("rank %d has coordinates %v, which are rank %d", rank, m.Coord(rank), got)
			}
			for name, group := range m.Groups(rank) {
				if !slices.Contains(group, rank) || !slices.IsSorted(group) {
					t.Fatalf("rank %d: group %s %v", rank, name, group)
				}
				for _, other := range group {
					if !slices.Equal(m.Groups(other)[name], group) {
						t.Fatalf("group %s of rank %d is %v, of rank %d %v", name, rank, group, other, m.Groups(other)[name])
					}
				}
			}
		}
	})
}

func TestMeshKeepsTreeOrder(t *testing.T) {
	m := plan(t, "pp=2 dp=3 tp=2").Mesh()
	for axis, want := range map[string][]int{
		AxisPP: {1, 7}, AxisDP: {1, 3, 5}, AxisTP: {0, 1}, "sp": nil,
	} {
		if got := m.Group(axis, 1); !slices.Equal(got, want) {
			t.Errorf("group %s of rank 1 is %v, expected %v", axis, got, want)
		}
	}
}
