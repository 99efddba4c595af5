package parallel

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/galvani-ml/galvani/graph"
	"golang.org/x/sync/errgroup"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// hub is where the ranks of a test meet: everyone puts a tensor under a key.
type hub struct {
	mu    sync.Mutex
	cond  *sync.Cond
	posts map[string]map[int]graph.Operand
	err   error
}

func newHub() *hub {
	h := &hub{posts: map[string]map[int]graph.Operand{}}
	h.cond = sync.NewCond(&h.mu)
	return h
}

func (h *hub) post(key string, rank int, x graph.Operand) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.posts[key] == nil {
		h.posts[key] = map[int]graph.Operand{}
	}
	if _, ok := h.posts[key][rank]; ok && h.err == nil {
		h.err = fmt.Errorf("rank %d posts %s twice", rank, key)
	}
	h.posts[key][rank] = x
	h.cond.Broadcast()
}

// wait returns the tensors of the ranks, in order.
func (h *hub) wait(key string, ranks []int) ([]graph.Operand, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.err == nil {
		var all []graph.Operand
		for _, r := range ranks {
			if x, ok := h.posts[key][r]; ok {
				all = append(all, x)
			}
		}
		if len(all) == len(ranks) {
			return all, nil
		}
		h.cond.Wait()
	}
	return nil, h.err
}

func (h *hub) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
	h.cond.Broadcast()
}

// peer is what one operation of one rank meets the others by. A send does not
// wait, as if buffered.
type peer struct {
	hub   *hub
	key   string
	rank  int
	group []int // whom to wait for
	named bool  // collectives are told apart by name, edges by their number
	micro *int
}

func (p *peer) Exchange(name string, x graph.Operand) ([]graph.Operand, error) {
	key := fmt.Sprintf("%s micro %d", p.key, *p.micro)
	if p.named {
		key += " " + name
	}
	p.hub.post(key, p.rank, x)
	return p.hub.wait(key, p.group)
}

// bind gives each operation of a part its peers.
func bind(h *hub, p *Part, micro *int) {
	for _, n := range p.Stage.Graph.AllNodes() {
		op := graph.OpOf(n)
		if op == nil {
			continue
		}
		q := &peer{hub: h, key: fmt.Sprint("pass ", op.Tag.Pass), rank: p.Rank, micro: micro}
		switch s := op.Spec.(type) {
		case graph.Send:
			q.key += fmt.Sprintf(" to %d from %d edge %d", p.Peer(s.Peer), p.Rank, s.Edge)
		case graph.Recv:
			q.group = []int{p.Peer(s.Peer), p.Rank}
			q.key += fmt.Sprintf(" to %d from %d edge %d", p.Rank, p.Peer(s.Peer), s.Edge)
		case graph.Collective:
			q.named = true
			q.group = p.Groups[s.Group().Name]
			q.key += fmt.Sprintf(" %s %v", s.Group().Name, q.group)
		default:
			continue
		}
		op.BindPeers(q)
	}
}

// outcome is what a rank of a test computed in a step.
type outcome struct {
	loss   float64
	logits [][]float64          // by micro-batch
	grads  map[string][]float64 // by parameter, summed over the micro-batches
}

// stageRun evaluates a differentiated stage by its operations' Do.
type stageRun struct {
	stage             *graph.Stage
	forward, backward []*G.Node
	sides             []*G.Node // side outputs of forward operations
	leaves            map[*G.Node]G.Value
}

func newStageRun(s *graph.Stage, params map[string][]float64) *stageRun {
	f, b := s.Roots()
	r := &stageRun{stage: s, leaves: map[*G.Node]G.Value{}}
	isForward := map[*G.Node]bool{}
	for _, n := range graph.Order(f...) {
		r.forward = append(r.forward, n)
		isForward[n] = true
	}
	for _, n := range graph.Order(b...) {
		op := graph.OpOf(n)
		switch {
		case isForward[n]:
		case op != nil && op.Spec.Kind() == "side" && isForward[graph.Children(n)[0]]:
			r.sides = append(r.sides, n)
		default:
			r.backward = append(r.backward, n)
		}
	}
	for _, p := range s.Params {
		r.leaves[p.Node] = tensorOf(graph.TypeOf(p.Node), cut(params[p.Param.Name], p.Param.Shape, p.Parts))
	}
	for _, n := range slices.Concat(s.Seeds, s.Tokens) {
		r.leaves[n] = tensorOf(graph.TypeOf(n), []float64{1})
	}
	return r
}

func (r *stageRun) run(nodes []*G.Node, vals map[*G.Node]G.Value) error {
	for _, n := range nodes {
		if graph.IsLeaf(n) {
			if v := r.leaves[n]; v != nil {
				vals[n] = v
			}
			if vals[n] == nil {
				return fmt.Errorf("leaf %s has no value", n.Name())
			}
			continue
		}
		var in []G.Value
		for _, c := range graph.Children(n) {
			in = append(in, vals[c])
		}
		v, err := n.Op().Do(in...)
		if err != nil {
			return err
		}
		vals[n] = v
	}
	return nil
}

func tensorOf(t graph.Type, data []float64) G.Value {
	switch {
	case t.Dtype == tensor.Int32:
		ints := make([]int32, len(data))
		for i, v := range data {
			ints[i] = int32(v)
		}
		return tensor.New(tensor.WithShape(t.Shape...), tensor.WithBacking(ints))
	case t.Dims() == 0:
		return G.NewF64(data[0])
	}
	return tensor.New(tensor.WithShape(t.Shape...), tensor.WithBacking(slices.Clone(data)))
}

func floats(v G.Value) []float64 {
	if x, ok := v.Data().(float64); ok {
		return []float64{x}
	}
	return v.Data().([]float64)
}

// cut takes a part out of a whole tensor.
func cut(x []float64, shape tensor.Shape, parts []graph.Part) []float64 {
	if len(shape) == 0 {
		return x
	}
	d := shape[0]
	lo, n := 0, d
	if c := parts[0].Count; c > 1 {
		n = d / c
		lo = parts[0].Index * n
	}
	inner := len(x) / d
	var out []float64
	for i := lo; i < lo+n; i++ {
		out = append(out, cut(x[i*inner:(i+1)*inner], shape[1:], parts[1:])...)
	}
	return out
}

// runStep runs one step of a part by its schedule.
func runStep(h *hub, p *Part, params, inputs map[string][]float64) (*outcome, error) {
	if err := p.Differentiate(); err != nil {
		return nil, err
	}
	var micro int
	bind(h, p, &micro)
	r := newStageRun(p.Stage, params)
	out := &outcome{grads: map[string][]float64{}}
	slots := make([]map[*G.Node]G.Value, p.Slots)
	for _, a := range p.Schedule {
		micro = a.Micro
		if a.Pass == graph.Backward {
			if err := r.run(r.backward, slots[a.Slot]); err != nil {
				return nil, err
			}
			for _, s := range p.Stage.Params {
				out.grads[s.Param.Name] = sum(out.grads[s.Param.Name], floats(slots[a.Slot][s.Grad]))
			}
			slots[a.Slot] = nil
			continue
		}
		if slots[a.Slot] != nil {
			return nil, fmt.Errorf("%v: the slot is taken", a)
		}
		vals := p.feed(inputs, a.Micro)
		slots[a.Slot] = vals
		if err := r.run(slices.Concat(r.forward, r.sides), vals); err != nil {
			return nil, err
		}
		if p.Stage.Loss != nil {
			out.loss += floats(vals[p.Stage.Loss])[0]
		}
		if p.Stage.Logits != nil {
			out.logits = append(out.logits, floats(vals[p.Stage.Logits]))
		}
	}
	return out, nil
}

// feed gives the inputs of a micro-batch, cut out of those of the batch.
func (p *Part) feed(inputs map[string][]float64, micro int) map[*G.Node]G.Value {
	vals := map[*G.Node]G.Value{}
	for _, in := range p.Stage.Inputs {
		t := graph.TypeOf(in.Node)
		x := inputs[in.Name]
		switch {
		case in.Name == graph.InputRNG:
			x = slices.Clone(x)
			x[3] = float64(p.Rows.Start(micro))
		case in.PerRow():
			whole := graph.Type{Shape: tensor.Shape{p.Rows.Mesh, toySeq}}
			x = cut(x[micro*whole.Size():][:whole.Size()], whole.Shape, in.Parts)
		}
		vals[in.Node] = tensorOf(t, x)
	}
	return vals
}

// toySeq is the sequence length of every toy that is run.
const toySeq = 6

func sum(x, y []float64) []float64 {
	z := slices.Clone(y)
	for i := range x {
		z[i] += x[i]
	}
	return z
}

// runWhole runs the whole batch on Gorgonia's TapeMachine, unpartitioned.
func runWhole(t testing.TB, s toy, params, inputs map[string][]float64) *outcome {
	t.Helper()
	st := graph.Whole(s.build(t))
	if err := st.Differentiate(); err != nil {
		t.Fatal(err)
	}
	let := func(n *G.Node, data []float64) {
		if err := G.Let(n, tensorOf(graph.TypeOf(n), data)); err != nil {
			t.Fatalf("%s: %v", n.Name(), err)
		}
	}
	reads := make([]G.Value, len(st.Params)+2)
	for i, p := range st.Params {
		let(p.Node, params[p.Param.Name])
		G.Read(p.Grad, &reads[i])
	}
	for _, in := range st.Inputs {
		let(in.Node, inputs[in.Name])
	}
	let(st.Seeds[0], []float64{1})
	G.Read(st.Loss, &reads[len(st.Params)])
	G.Read(st.Logits, &reads[len(st.Params)+1])
	vm := G.NewTapeMachine(st.Graph)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		t.Fatal(err)
	}
	out := &outcome{loss: floats(reads[len(st.Params)])[0], grads: map[string][]float64{}}
	out.logits = [][]float64{slices.Clone(floats(reads[len(st.Params)+1]))}
	for i, p := range st.Params {
		out.grads[p.Param.Name] = slices.Clone(floats(reads[i]))
	}
	return out
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkPlan runs one step of a toy under a plan on all ranks and compares loss
// and gradients with those of the whole. Without tables the plan says the
// strategies.
func checkPlan(t testing.TB, f fataler, s toy, p *Plan, tables map[string]Table) {
	f.Helper()
	params, inputs := s.data(t, 1)
	want := runWhole(t, s, params, inputs)
	micro := s
	micro.batch = s.batch / p.Micro
	h := newHub()
	parts := make([]*Part, p.Mesh().Size())
	got := make([]*outcome, len(parts))
	models := make([]*graph.Model, len(parts))
	for r := range parts {
		models[r] = micro.build(t)
	}
	var ranks errgroup.Group
	for r := range parts {
		ranks.Go(func() (err error) {
			if tables == nil {
				parts[r], err = Partition(models[r], p, r)
			} else {
				parts[r], err = PartitionBy(models[r], p, r, tables)
			}
			if err == nil {
				got[r], err = runStep(h, parts[r], params, inputs)
			}
			if err != nil {
				err = fmt.Errorf("rank %d: %w", r, err)
				h.fail(err)
			}
			return err
		})
	}
	if err := ranks.Wait(); err != nil {
		f.Fatalf("%v: %v", p, err)
	}
	if err := errors.Join(compareLoss(parts, got, want), compareGrads(parts, got, want), compareLogits(parts, got, want)); err != nil {
		f.Fatalf("%v: %v", p, err)
	}
}

const tolerance = 1e-9

func near(x, y float64) bool { return math.Abs(x-y) <= tolerance }

// compareLoss sums the loss of every rank of the last stage over LossOver.
func compareLoss(parts []*Part, got []*outcome, want *outcome) error {
	loss := make([]float64, len(parts))
	for r, p := range parts {
		loss[r] = got[r].loss
		if last := p.Mesh[0].Size - 1; (p.Stage.Loss != nil) != (p.PipelineStage() == last) {
			return fmt.Errorf("rank %d of stage %d: loss %v", r, p.PipelineStage(), p.Stage.Loss)
		}
	}
	last := parts[len(parts)-1].LossOver
	for _, axis := range last {
		next := slices.Clone(loss)
		for r, p := range parts {
			next[r] = 0
			for _, q := range p.Groups[axis] {
				next[r] += loss[q]
			}
		}
		loss = next
	}
	for r, p := range parts {
		if p.Stage.Loss != nil && !near(loss[r], want.loss) {
			return fmt.Errorf("rank %d: loss %.12g, whole %.12g", r, loss[r], want.loss)
		}
	}
	return nil
}

// compareGrads sums the gradients over the groups that SumOver lists, and
// checks that over all ranks every element counts once.
func compareGrads(parts []*Part, got []*outcome, want *outcome) error {
	counted := map[string]float64{}
	for r, p := range parts {
		for _, s := range p.Stage.Params {
			name := s.Param.Name
			whole := cut(want.grads[name], s.Param.Shape, s.Parts)
			for i, g := range reduced(parts, got, r, name, len(s.SumOver)) {
				if !near(g, whole[i]) {
					return fmt.Errorf("rank %d: gradient of %s, element %d: %.12g, whole %.12g", r, name, i, g, whole[i])
				}
				if p.Counted[s] {
					counted[name] += whole[i] * whole[i]
				}
			}
		}
	}
	for name, g := range want.grads {
		var norm float64
		for _, x := range g {
			norm += x * x
		}
		if math.Abs(counted[name]-norm) > tolerance*(1+norm) {
			return fmt.Errorf("%s: squares sum to %.12g over what is counted, %.12g over the whole", name, counted[name], norm)
		}
	}
	return nil
}

// reduced is a rank's gradient after summing over the first k groups of its
// SumOver.
func reduced(parts []*Part, got []*outcome, rank int, name string, k int) []float64 {
	if k == 0 {
		return got[rank].grads[name]
	}
	p := parts[rank]
	i := slices.IndexFunc(p.Stage.Params, func(s *graph.Shard) bool { return s.Param.Name == name })
	var total []float64
	for _, q := range p.Groups[p.Stage.Params[i].SumOver[k-1]] {
		total = sum(total, reduced(parts, got, q, name, k-1))
	}
	return total
}

// compareLogits compares those rows of the logits that a rank has.
func compareLogits(parts []*Part, got []*outcome, want *outcome) error {
	for r, p := range parts {
		for m, logits := range got[r].logits {
			first, count := p.Rows.Of(m)
			row := toySeq * toyV
			whole := want.logits[0][first*row : (first+count)*row]
			for i := range whole {
				if !near(logits[i], whole[i]) {
					return fmt.Errorf("rank %d: logits of micro-batch %d, element %d: %.12g, whole %.12g", r, m, i, logits[i], whole[i])
				}
			}
		}
	}
	return nil
}
