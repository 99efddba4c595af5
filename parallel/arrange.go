package parallel

import (
	"fmt"
	"slices"
	"strings"
)

// arrangement is the mesh of a pipeline stage's ranks on which several
// strategies can be told: every level of every strategy's tree is one axis or
// several neighbouring ones.
type arrangement struct {
	axes  []Axis   // outermost first
	roles [][]Role // of each axis, by strategy
}

// arrange finds the coarsest mesh for strategies of equally many ranks. Where a
// level of one tree ends is a border between axes; a border is known by the
// number of ranks below it. It fails where one border's number does not divide
// another's: 2x3 ranks and 3x2 have no common mesh.
func arrange(strategies []Strategy) (*arrangement, error) {
	borders := []int{strategies[0].Ranks()}
	for i, s := range strategies {
		if n := s.Ranks(); n != borders[0] {
			return nil, fmt.Errorf("layer %d (%v) is shared by %d ranks, layer 0 (%v) by %d", i, s, n, strategies[0], borders[0])
		}
		below := s.Ranks()
		for _, l := range s.levels() {
			below /= l.degree
			borders = append(borders, below)
		}
	}
	slices.Sort(borders)
	borders = slices.Compact(borders)
	slices.Reverse(borders)
	a := &arrangement{}
	for k, below := range borders[1:] {
		above := borders[k]
		if above%below != 0 {
			return nil, fmt.Errorf("the layers' strategies split %d ranks into parts of %d and of %d, which have no common mesh: change order or degrees", borders[0], above, below)
		}
		roles := make([]Role, len(strategies))
		for i, s := range strategies {
			roles[i] = s.roleAt(below)
		}
		a.axes = append(a.axes, Axis{Name: axisName(roles), Size: above / below})
		a.roles = append(a.roles, roles)
	}
	a.number()
	return a, nil
}

// roleAt returns the role of the level that an axis with so many ranks below it
// belongs to.
func (s Strategy) roleAt(below int) Role {
	rest := s.Ranks()
	for _, l := range s.levels() {
		if rest /= l.degree; rest <= below {
			return l.role
		}
	}
	return ""
}

// axisName joins the roles that an axis has.
func axisName(roles []Role) string {
	var names []string
	for _, r := range roles {
		if !slices.Contains(names, string(r)) {
			names = append(names, string(r))
		}
	}
	return strings.Join(names, "+")
}

// number tells axes with the same roles apart: "dp.0", "dp.1".
func (a *arrangement) number() {
	count := map[string]int{}
	for _, x := range a.axes {
		count[x.Name]++
	}
	next := map[string]int{}
	for i, x := range a.axes {
		if count[x.Name] > 1 {
			a.axes[i].Name = fmt.Sprintf("%s.%d", x.Name, next[x.Name])
			next[x.Name]++
		}
	}
}
