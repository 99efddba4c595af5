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
	owner := map[int]int{} // the first layer with a border
	for i, s := range strategies {
		if n := s.Ranks(); n != borders[0] {
			return nil, &RanksError{Layer: i, Ranks: n, Strategy: s, First: strategies[0]}
		}
		for _, below := range s.Borders() {
			if _, ok := owner[below]; !ok {
				borders, owner[below] = append(borders, below), i
			}
		}
	}
	slices.Sort(borders)
	slices.Reverse(borders)
	a := &arrangement{}
	for k, below := range borders[1:] {
		above := borders[k]
		if above%below != 0 {
			return nil, noCommonMesh(strategies, [2]int{owner[above], owner[below]}, [2]int{above, below})
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

// Borders returns the number of ranks below each level of the tree, outermost
// first.
func (s Strategy) Borders() []int {
	var borders []int
	below := s.Ranks()
	for _, l := range s.levels() {
		below /= l.degree
		borders = append(borders, below)
	}
	return borders
}

// noCommonMesh is the error of two layers that split the ranks into such parts.
func noCommonMesh(strategies []Strategy, layers, parts [2]int) error {
	if layers[0] > layers[1] {
		layers[0], layers[1] = layers[1], layers[0]
		parts[0], parts[1] = parts[1], parts[0]
	}
	first, second := strategies[layers[0]], strategies[layers[1]]
	err := &MeshError{Ranks: first.Ranks(), Layers: layers, Parts: parts, Strategies: [2]Strategy{first, second}}
	var roles []Role
	for _, l := range second.levels() {
		roles = append(roles, l.role)
	}
	for _, order := range permutations(roles) {
		var names []string
		for _, r := range order {
			names = append(names, string(r))
		}
		second.Order = Order(strings.Join(names, ","))
		if haveMesh(first, second) {
			err.Works = append(err.Works, second.Order)
		}
	}
	return err
}

// haveMesh reports whether two strategies of equally many ranks have a common
// mesh.
func haveMesh(a, b Strategy) bool {
	borders := append(a.Borders(), b.Borders()...)
	slices.Sort(borders)
	for i := 1; i < len(borders); i++ {
		if borders[i]%borders[i-1] != 0 {
			return false
		}
	}
	return true
}

// permutations returns all orders of a few roles.
func permutations(roles []Role) [][]Role {
	if len(roles) == 0 {
		return [][]Role{nil}
	}
	var all [][]Role
	for i, r := range roles {
		for _, rest := range permutations(slices.Concat(roles[:i], roles[i+1:])) {
			all = append(all, append([]Role{r}, rest...))
		}
	}
	return all
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
