package parallel

import "github.com/galvani-ml/galvani/graph"

// tablesOf gives the table of each layer on each axis of the plan's mesh but
// pp, in the mesh's order.
func (p *Plan) tablesOf(f Facts) ([][]Table, error) {
	strategies := p.LayerStrategies(f)
	a, err := arrange(strategies)
	if err != nil {
		return nil, err
	}
	tables := make([][]Table, len(a.axes))
	for i := range a.axes {
		tables[i] = make([]Table, len(strategies))
		for l, s := range strategies {
			tables[i][l] = s.table(a.roles[i][l], f, l)
		}
	}
	return tables, nil
}

// once is how often the parameters of a layer are converted. Without ZeRO they
// are where layers share one and hold it differently.
func (s Strategy) once() graph.Once {
	switch s.ZeRO {
	case 3:
		return graph.OnceNever
	case 2:
		return graph.OnceForward
	}
	return graph.OnceBoth
}

// table is what a strategy does with a layer on an axis of a role.
func (s Strategy) table(r Role, f Facts, layer int) Table {
	var t Table
	switch r {
	case RoleDP:
		t = DataParallel{}
	case RoleSP:
		t = SequenceParallel{}
	case RoleCP:
		t = ContextParallel{}
	case RoleTP:
		return s.tensorTable(f, layer)
	}
	if s.ZeRO > 0 {
		t = Sharded{Table: t, Ways: s.Ranks() / s.Degree(RoleTP), Whole: s.whole(f, layer)}
	}
	return t
}

// tensorTable is tensor parallelism. Where the inner width of a block does not
// divide, the ranks share the sequence there, or else compute the same; where
// the vocabulary does not, all over the embedding and the head.
func (s Strategy) tensorTable(f Facts, layer int) Table {
	tp := s.Degree(RoleTP)
	sequence := f.Seq%(tp*s.Degree(RoleSP)*s.Degree(RoleCP)) == 0
	switch {
	case f.splits(layer, tp):
		return TensorParallel{Ways: tp, Sequence: s.SequenceParallel}
	case f.isBlock(layer):
		return TensorParallel{Ways: tp, Sequence: sequence}
	case sequence:
		return SequenceParallel{}
	}
	return Replicated{}
}

// splits reports whether all that tensor parallelism splits of a layer
// divides. The embedding and the head are one in this: they may share a table.
func (f Facts) splits(layer, tp int) bool {
	layers := f.Layers[layer : layer+1]
	if !f.isBlock(layer) {
		layers = []Layer{f.Layers[0], f.Layers[len(f.Layers)-1]}
	}
	for _, l := range layers {
		for _, x := range l.Splits {
			if x.Size%tp != 0 {
				return false
			}
		}
	}
	return true
}

// whole says which dimension of a parameter the tensor-parallel ranks split.
func (s Strategy) whole(f Facts, layer int) func(p *graph.Param) (dim, ways int) {
	t := s.tensorTable(f, layer)
	return func(p *graph.Param) (dim, ways int) {
		if d, sharded := t.Param(p).Held.Dim(); sharded && s.Degree(RoleTP) > 1 {
			return d, s.Degree(RoleTP)
		}
		return -1, 1
	}
}
