package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/comm"
)

// CommOptions say what the suite comm measures.
type CommOptions struct {
	Ops    []string      // of [CommOps]; default all
	Planes []string      // data planes; default those of [CommPlanes]
	Ranks  []int         // numbers of ranks; default 2 and 4
	Bytes  []int         // sizes of the whole tensor; default 1 KiB to 256 MiB
	Peers  bool          // measure Open MPI and Gloo too, where they are installed
	Rounds int           // turns that each side takes; default 3
	Turn   time.Duration // how long a turn takes, about; default 150 ms
	SVG    string        // file to write a chart to; empty for none
	JSON   bool          // one JSON object a line instead of tables
	Log    io.Writer     // what is left out, and why; may be nil
}

// CommOps are the collectives that the suite comm measures.
func CommOps() []string { return []string{opAllReduce, opAllGather, opReduceScatter} }

// CommPlanes are the data planes that it measures.
func CommPlanes() []string { return []string{string(comm.NATS), string(comm.TCP), string(comm.SHM)} }

const (
	opAllReduce     = "all-reduce"
	opAllGather     = "all-gather"
	opReduceScatter = "reduce-scatter"
)

// Comm measures collectives between processes of this machine over each data
// plane, and, if asked for, on peers, and writes a [Result] of each plane to
// stdout. Each side has a process a rank; all take turns, round by round, and
// sleep between their turns. A turn is as many calls as fit in Turn, 2 at least,
// and begins with one that is not counted. Times are rank 0's.
//
// The value is the bus bandwidth by the convention of nccl-tests: what each rank
// must send at least, 2(n-1)/n of the bytes for an all-reduce and (n-1)/n for the
// others, over the time. Peers has the ratios of times theirs over ours, the
// median over the rounds.
func Comm(ctx context.Context, o CommOptions, stdout io.Writer) (err error) {
	o, err = o.withDefaults()
	if err != nil {
		return err
	}
	server, err := comm.Start(comm.ServerOptions{})
	if err != nil {
		return err
	}
	defer server.Shutdown()
	found := findCommPeers(ctx, o)
	var all []Result
	for _, ranks := range o.Ranks {
		s := &commSuite{CommOptions: o, ctx: ctx, ranks: ranks}
		err := s.open(server.Endpoint(), found)
		if err == nil {
			var results []Result
			results, err = s.run(stdout)
			all = append(all, results...)
		}
		if err := errors.Join(err, s.close()); err != nil {
			return err
		}
	}
	return writeChart(o.SVG, commChart(all, machineName(1)))
}

func (o CommOptions) withDefaults() (CommOptions, error) {
	known := CommOps()
	for _, op := range o.Ops {
		if !slices.Contains(known, op) {
			return o, fmt.Errorf("bench: no collective is named %q: there are %v", op, known)
		}
	}
	for _, p := range o.Planes {
		if _, err := comm.ParsePlane(p); err != nil {
			return o, err
		}
	}
	for _, n := range o.Ranks {
		if n < 2 || n > 64 {
			return o, fmt.Errorf("bench: collectives of %d ranks: want 2 to 64", n)
		}
	}
	for _, n := range o.Bytes {
		if n < 4*64 || n > 1<<30 {
			return o, fmt.Errorf("bench: tensors of %d bytes: want 256 to 1 GiB", n)
		}
	}
	if o.Rounds < 0 || o.Turn < 0 {
		return o, fmt.Errorf("bench: %d rounds of %v: they cannot be negative", o.Rounds, o.Turn)
	}
	if len(o.Ops) == 0 {
		o.Ops = known
	}
	if len(o.Planes) == 0 {
		o.Planes = CommPlanes()
	}
	if len(o.Ranks) == 0 {
		o.Ranks = []int{2, 4}
	}
	if len(o.Bytes) == 0 {
		for n := 1 << 10; n <= 256<<20; n *= 4 {
			o.Bytes = append(o.Bytes, n)
		}
	}
	o.Rounds, o.Turn = cmp.Or(o.Rounds, 3), cmp.Or(o.Turn, 150*time.Millisecond)
	return o, checkChart(o.SVG)
}

// commSuite is the suite with one number of ranks.
type commSuite struct {
	CommOptions
	ctx   context.Context
	ranks int
	sides []*commSide // planes first
}

// commSide is a plane or a peer.
type commSide struct {
	name    string
	plane   bool
	version string
	ops     []string
	world   world
	rounds  [][]float64 // seconds of the calls, by round
}

// world runs collectives on all ranks of a side.
type world interface {
	run(q collective) (collectiveReply, error)
	close() error
}

// collective is what a side is asked to do.
type collective struct {
	Op          string `json:"op"`
	Elements    int    `json:"elements"`
	Repetitions int    `json:"repetitions"`
}

// collectiveReply is what it took.
type collectiveReply struct {
	Seconds []float64 `json:"seconds,omitempty"`
	Version string    `json:"version,omitempty"` // of a peer
	failure
}

// open starts all sides.
func (s *commSuite) open(e comm.Endpoint, peers []commPeer) error {
	for _, plane := range s.Planes {
		w, err := openRanks(s.ctx, e, comm.Plane(plane), s.ranks, slices.Max(s.Bytes)/4)
		if err != nil {
			return err
		}
		s.sides = append(s.sides, &commSide{name: plane, plane: true, ops: CommOps(), world: w})
	}
	for _, p := range peers {
		w, err := p.open(s.ctx, s.ranks)
		if err != nil {
			return err
		}
		s.sides = append(s.sides, &commSide{name: p.name, ops: p.ops, world: w})
	}
	return nil
}

func (s *commSuite) close() error {
	var errs []error
	for _, side := range s.sides {
		errs = append(errs, side.world.close())
	}
	return errors.Join(errs...)
}

// run measures everything.
func (s *commSuite) run(stdout io.Writer) ([]Result, error) {
	var all []Result
	for _, op := range s.Ops {
		var results []Result
		for _, bytes := range s.Bytes {
			r, err := s.measure(op, bytes)
			if err != nil {
				return nil, err
			}
			results = append(results, r...)
		}
		if err := s.write(stdout, op, results); err != nil {
			return nil, err
		}
		all = append(all, results...)
	}
	return all, nil
}

func (s *commSuite) write(stdout io.Writer, op string, results []Result) error {
	if !s.JSON {
		return writeComm(stdout, op, s.ranks, results)
	}
	lines := json.NewEncoder(stdout)
	for _, r := range results {
		if err := lines.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// measure gives every side that has the collective its turns.
func (s *commSuite) measure(op string, bytes int) ([]Result, error) {
	// Whole parts: not all peers can divide otherwise.
	q := collective{Op: op, Elements: bytes / 4 / s.ranks * s.ranks}
	turns := slices.DeleteFunc(slices.Clone(s.sides), func(c *commSide) bool { return !slices.Contains(c.ops, op) })
	for _, c := range turns {
		c.rounds = nil
	}
	for range s.Rounds {
		for _, c := range turns {
			time.Sleep(rest)
			if err := c.turn(s.ctx, q, s.Turn); err != nil {
				return nil, fmt.Errorf("%s of %d bytes over %s: %w", op, bytes, c.name, err)
			}
		}
		slices.Reverse(turns)
	}
	var results []Result
	for _, c := range s.sides {
		if c.plane {
			results = append(results, s.result(q, c, turns))
		}
	}
	return results, nil
}

// turn runs one round of a side: first two calls, to see how many fit.
func (c *commSide) turn(ctx context.Context, q collective, limit time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	const fewest, most = 2, 1000
	q.Repetitions = fewest
	r, err := c.world.run(q)
	if err != nil {
		return err
	}
	if fit := limit.Seconds() / max(slices.Min(r.Seconds), 1e-9); fit > 2*fewest {
		q.Repetitions = int(min(fit, most))
		if r, err = c.world.run(q); err != nil {
			return err
		}
	}
	c.version = r.Version
	c.rounds = append(c.rounds, r.Seconds)
	return nil
}

// result sums the rounds of a plane up, beside the peers'.
func (s *commSuite) result(q collective, c *commSide, turns []*commSide) Result {
	seconds := median(slices.Concat(c.rounds...))
	e := &Exchange{
		Op: q.Op, Ranks: s.ranks, Bytes: 4 * q.Elements, Plane: c.name, Seconds: seconds, Rounds: s.Rounds,
		PeersMin: map[string]float64{}, PeersMax: map[string]float64{}, Theirs: map[string]float64{}, Versions: map[string]string{},
	}
	r := Result{
		Suite: "comm", Name: fmt.Sprintf("%s-%dr-%s-%s", q.Op, s.ranks, sizeName(e.Bytes), c.name),
		Value: busBytes(q.Op, s.ranks, e.Bytes) / seconds / 1e9, Unit: "GB/s", Peers: map[string]float64{}, Exchange: e,
	}
	for _, p := range turns {
		if p.plane {
			continue
		}
		var ratios []float64
		for i := range c.rounds {
			ratios = append(ratios, median(p.rounds[i])/median(c.rounds[i]))
		}
		r.Peers[p.name] = median(ratios)
		e.PeersMin[p.name], e.PeersMax[p.name] = slices.Min(ratios), slices.Max(ratios)
		e.Theirs[p.name], e.Versions[p.name] = median(slices.Concat(p.rounds...)), p.version
	}
	return r
}

// busBytes is what each of n ranks must send at least.
func busBytes(op string, n, bytes int) float64 {
	part := float64(bytes) * float64(n-1) / float64(n)
	if op == opAllReduce {
		return 2 * part
	}
	return part
}

// sizeName is a size as 64KiB.
func sizeName(bytes int) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%gMiB", round3(float64(bytes)/(1<<20)))
	default:
		return fmt.Sprintf("%gKiB", round3(float64(bytes)/(1<<10)))
	}
}

func round3(x float64) float64 { return float64(int(1000*x+0.5)) / 1000 }

// peersIn are the names of the peers in results.
func peersIn(results []Result) []string {
	names := map[string]bool{}
	for _, r := range results {
		for name := range r.Peers {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
