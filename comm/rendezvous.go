package comm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// carrier opens links of one plane.
type carrier interface {
	// joins reports whether the plane may join two ranks, by what all know.
	joins(a, b greeting) bool
	// offer prepares this rank for links to peers, and says what they need.
	offer(peers []int) ([]byte, error)
	// open makes the links to peers by what all ranks offer. Links and errors
	// are by rank.
	open(ctx context.Context, peers []int, offers [][]byte) ([]link, []error)
	// settle ends what served only to open links.
	settle()
}

// link is a wire of its own to one peer.
type link interface {
	wire
	// frames is how many bytes of payload a frame takes, and how many frames of an
	// edge may be on the way.
	frames() (bytes, window int)
	// credit hands n credits of an edge back, without waiting for the peer: it is
	// called by what takes in frames, on which the peer may wait.
	credit(edge uint32, n int)
	// run takes in frames until the link is closed or the peer has said bye.
	run()
	// finish says that no more frames follow.
	finish()
	// close ends the link at once. It may be called more than once.
	close()
}

// greeting is what each rank says of itself first.
type greeting struct {
	Host string
	Want Plane
	Shm  bool // it can share memory
}

// attempt is what a rank says of one plane: its offer, or how opening the link to
// each peer went, an empty text if well. Fault means that it cannot do either.
type attempt struct {
	Offer []byte   `json:",omitempty"`
	Links []string `json:",omitempty"`
	Fault string   `json:",omitempty"`
}

// decodeGreeting reads what a rank says of itself.
func decodeGreeting(text []byte) (g greeting, err error) {
	err = json.Unmarshal(text, &g)
	if err == nil && len(g.Host) > maxText {
		err = fmt.Errorf("the name of its host has %d bytes", len(g.Host))
	}
	g.Want = Plane(shortened(string(g.Want)))
	return g, err
}

// decodeAttempt reads what a rank says of a plane.
func decodeAttempt(text []byte) (a attempt, err error) {
	err = json.Unmarshal(text, &a)
	if err == nil && (len(a.Offer) > maxOffer || len(a.Links) > maxRanks) {
		err = fmt.Errorf("an offer of %d bytes, %d links", len(a.Offer), len(a.Links))
	}
	a.Fault = shortened(a.Fault)
	for i, text := range a.Links {
		a.Links[i] = shortened(text)
	}
	return a, err
}

// maxOffer bounds what a rank may need to say of a plane, in bytes.
const maxOffer = 1 << 20

// rendezvousGroup is the group in which ranks agree on planes, over NATS.
const rendezvousGroup = GroupEdges - 1

// rendezvous gives each pair of ranks its plane. All ranks call it, before
// anything else goes over the transport.
func (t *natsTransport) rendezvous(ctx context.Context, o TransportOptions) error {
	want := cmp.Or(o.Plane, NATS)
	if t.size == 1 || want == NATS {
		return nil
	}
	ranks := make([]int, t.size)
	for i := range ranks {
		ranks[i] = i
	}
	g, err := NewGroup(t, rendezvousGroup, ranks)
	if err != nil {
		return err
	}
	m := &meeting{t: t, group: g}
	if err := exchangeJSON(ctx, g, "greeting", greeting{Host: cmp.Or(o.host, hostID()), Want: want, Shm: shmCan()}, decodeGreeting, &m.greetings); err != nil {
		return err
	}
	if err := m.know(want); err != nil {
		return err
	}
	for _, p := range preferred {
		if want == Auto || want == p {
			if err := m.try(ctx, p, want == p); err != nil {
				return err
			}
		}
	}
	return nil
}

// openTimeout bounds how long the links of a plane may take: where a firewall is
// silent, the next plane is tried.
// A test replaces it.
var openTimeout = 5 * time.Second

// meeting is a rendezvous under way.
type meeting struct {
	t         *natsTransport
	group     *Group
	greetings []greeting
}

// know takes in who is where.
func (m *meeting) know(want Plane) error {
	var hosts []string
	for rank, g := range m.greetings {
		if g.Want != want {
			return fmt.Errorf("comm: rank %d asks for data plane %s, rank %d for %s: give all the same", m.t.rank, want, rank, g.Want)
		}
		at := slices.Index(hosts, g.Host)
		if at < 0 {
			at = len(hosts)
			hosts = append(hosts, g.Host)
		}
		m.t.routes.Hosts[rank] = at
	}
	return nil
}

// peers are the ranks that a plane may join with the given one and that no plane
// but NATS does yet.
func (m *meeting) peers(c carrier, rank int) []int {
	var found []int
	for r := range m.greetings {
		a, b := min(r, rank), max(r, rank)
		if a != b && m.t.routes.Plane[a][b] == NATS && c.joins(m.greetings[a], m.greetings[b]) {
			found = append(found, r)
		}
	}
	return found
}

// try opens the links of a plane. If it is the only one asked for, all must.
func (m *meeting) try(ctx context.Context, p Plane, only bool) error {
	c := m.t.carrier(p)
	defer c.settle()
	peers := make([][]int, m.t.size)
	some := false
	for rank := range peers {
		peers[rank] = m.peers(c, rank)
		some = some || len(peers[rank]) > 0
		if only && len(peers[rank]) < m.t.size-1 {
			return fmt.Errorf("comm: data plane %s does not join rank %d with all others, which are on hosts %v: use auto", p, rank, m.t.routes.Hosts)
		}
	}
	if !some {
		return nil
	}
	mine := peers[m.t.rank]
	var offer attempt
	var err error
	if offer.Offer, err = c.offer(mine); err != nil {
		offer.Fault = err.Error()
	}
	var offers, outcomes []attempt
	if err := exchangeJSON(ctx, m.group, string(p)+" offers", offer, decodeAttempt, &offers); err != nil {
		return err
	}
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	links, outcome := m.open(opening, c, mine, offers)
	cancel()
	if err := exchangeJSON(ctx, m.group, string(p)+" links", outcome, decodeAttempt, &outcomes); err != nil {
		for _, l := range links {
			if l != nil {
				l.close()
			}
		}
		return err
	}
	return m.assign(p, only, peers, links, outcomes)
}

// open opens this rank's links, and tells how it went.
func (m *meeting) open(ctx context.Context, c carrier, peers []int, offers []attempt) ([]link, attempt) {
	texts, bytes := make([]string, m.t.size), make([][]byte, m.t.size)
	var able []int
	for _, peer := range peers {
		texts[peer] = cmp.Or(offers[m.t.rank].Fault, offers[peer].Fault)
		if bytes[peer] = offers[peer].Offer; texts[peer] == "" {
			able = append(able, peer)
		}
	}
	links, errs := c.open(ctx, able, bytes)
	for _, peer := range able {
		if errs[peer] != nil {
			texts[peer] = errs[peer].Error()
		}
	}
	return links, attempt{Links: texts}
}

// assign gives the plane to the pairs whose ranks both have their link.
func (m *meeting) assign(p Plane, only bool, peers [][]int, links []link, outcomes []attempt) error {
	t := m.t
	for _, o := range outcomes {
		if len(o.Links) != t.size {
			return fmt.Errorf("comm: a rank reports %d links of data plane %s, the job has %d ranks", len(o.Links), p, t.size)
		}
	}
	var failed error
	for a := range peers {
		for _, b := range peers[a] {
			// The higher rank dials, and so knows more.
			text := cmp.Or(outcomes[b].Links[a], outcomes[a].Links[b])
			switch {
			case a > b:
			case text == "":
				t.routes.Plane[a][b], t.routes.Plane[b][a] = p, p
			case only:
				failed = cmp.Or(failed, fmt.Errorf("comm: data plane %s cannot join ranks %d and %d: %s: use auto or nats", p, a, b, text))
			default:
				t.routes.Notes = append(t.routes.Notes, fmt.Sprintf("%s cannot join ranks %d and %d: %s", p, a, b, text))
			}
		}
	}
	for peer, l := range links {
		switch {
		case l == nil:
		case failed != nil || t.routes.Plane[t.rank][peer] != p:
			l.close()
		default:
			t.adopt(peer, l)
		}
	}
	return failed
}

// exchangeJSON gives every member what all say.
func exchangeJSON[T any](ctx context.Context, g *Group, name string, mine T, decode func([]byte) (T, error), all *[]T) error {
	text, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	texts, err := g.Exchange(ctx, name, text)
	if err != nil {
		return err
	}
	*all = make([]T, len(texts))
	for i, text := range texts {
		if (*all)[i], err = decode(text); err != nil {
			return fmt.Errorf("comm: %s of rank %d: %w", name, i, err)
		}
	}
	return nil
}
