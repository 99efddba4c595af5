package parallel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// Describe lists the part: the rank's place and groups, what it holds, its
// schedule, and the operations of its passes in order, with what each takes.
// The backward pass is listed once the stage is differentiated.
func (p *Part) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rank %d:", p.Rank)
	for i, a := range p.Mesh {
		fmt.Fprintf(&b, " %s %d/%d", a.Name, p.Coord[i], a.Size)
	}
	fmt.Fprintf(&b, "\nrows %d+%d of %d\n", p.Rows.First, p.Rows.Count, p.Rows.Mesh)
	groups := make([]string, 0, len(p.Groups))
	for name := range p.Groups {
		groups = append(groups, name)
	}
	slices.Sort(groups)
	for _, name := range groups {
		fmt.Fprintf(&b, "group %s %v\n", name, p.Groups[name])
	}
	for _, s := range p.Stage.Params {
		fmt.Fprintf(&b, "param %s\n", p.describeShard(s))
	}
	for _, in := range p.Stage.Inputs {
		fmt.Fprintf(&b, "input %s %v\n", in.Name, graph.TypeOf(in.Node))
	}
	fmt.Fprintf(&b, "schedule %s (slots %d)\n", describeActions(p.Schedule), p.Slots)
	forward, backward := p.Stage.Roots()
	l := lister{out: &b, names: map[*G.Node]string{}}
	l.list("forward", forward)
	l.list("backward", backward)
	l.results(p)
	return b.String()
}

// describeShard gives a shard's type, parts and sums.
func (p *Part) describeShard(s *graph.Shard) string {
	text := fmt.Sprintf("%s %v", s.Param.Name, graph.TypeOf(s.Node))
	for d, part := range s.Parts {
		if part.Count > 1 {
			text += fmt.Sprintf(", dimension %d part %d/%d", d, part.Index, part.Count)
		}
	}
	if len(s.SumOver) > 0 {
		text += ", gradient summed over " + strings.Join(s.SumOver, " ")
	}
	if !p.Counted[s] {
		text += ", counted elsewhere"
	}
	return text
}

// lister writes operations, numbering them as they come.
type lister struct {
	out   *strings.Builder
	names map[*G.Node]string
	count int
}

func (l *lister) list(title string, roots []*G.Node) {
	if len(roots) == 0 {
		return
	}
	fmt.Fprintf(l.out, "%s:\n", title)
	for _, n := range graph.Order(roots...) {
		if l.names[n] != "" {
			continue
		}
		if graph.IsLeaf(n) {
			l.names[n] = n.Name()
			continue
		}
		l.names[n] = fmt.Sprintf("%%%d", l.count)
		l.count++
		var in []string
		for _, c := range graph.Children(n) {
			in = append(in, l.names[c])
		}
		tag, _ := graph.TagOf(n)
		fmt.Fprintf(l.out, "  %s = %s(%s) %v # %s\n", l.names[n], describeOp(n), strings.Join(in, ", "), graph.TypeOf(n), tag.Name)
	}
}

// results says which nodes the stage's results are.
func (l *lister) results(p *Part) {
	if p.Stage.Logits != nil {
		fmt.Fprintf(l.out, "logits %s\n", l.names[p.Stage.Logits])
	}
	if p.Stage.Loss != nil {
		fmt.Fprintf(l.out, "loss %s\n", l.names[p.Stage.Loss])
		if len(p.LossOver) > 0 {
			fmt.Fprintf(l.out, "loss summed over %s\n", strings.Join(p.LossOver, " "))
		}
	}
	for _, s := range p.Stage.Params {
		if s.Grad != nil {
			fmt.Fprintf(l.out, "gradient %s %s\n", s.Param.Name, l.names[s.Grad])
		}
	}
}

// describeOp gives the kind of an operation and what tells it from others of
// its kind.
func describeOp(n *G.Node) string {
	op := graph.OpOf(n)
	if op == nil {
		return "sum"
	}
	kind := op.Spec.Kind()
	switch s := op.Spec.(type) {
	case graph.SideOutput:
		return fmt.Sprintf("%s %d", kind, s.K)
	case graph.Send:
		return fmt.Sprintf("%s to stage %d edge %d", kind, s.Peer, s.Edge)
	case graph.Recv:
		return fmt.Sprintf("%s from stage %d edge %d", kind, s.Peer, s.Edge)
	case graph.AllGather:
		return fmt.Sprintf("%s %s dimension %d", kind, s.Axis.Name, s.Dim)
	case graph.ReduceScatter:
		return fmt.Sprintf("%s %s dimension %d", kind, s.Axis.Name, s.Dim)
	case graph.Slice:
		return fmt.Sprintf("%s %s dimension %d", kind, s.Axis.Name, s.Dim)
	case graph.AllToAll:
		return fmt.Sprintf("%s %s dimension %d to %d", kind, s.Axis.Name, s.From, s.To)
	case graph.Rotate:
		return fmt.Sprintf("%s %s by %d", kind, s.Axis.Name, s.Shift)
	case graph.AttentionBlock:
		return fmt.Sprintf("%s queries from %d keys from %d", kind, s.Queries, s.Keys)
	case graph.AttentionBlockGrad:
		return fmt.Sprintf("%s queries from %d keys from %d", kind, s.Queries, s.Keys)
	case graph.RingAttention:
		return kind + " " + s.Axis.Name
	case graph.AllReduce:
		return kind + " " + s.Axis.Name
	case graph.Copy:
		return kind + " " + s.Axis.Name
	}
	return kind
}
