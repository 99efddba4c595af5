package comm

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// shmDir is where segments live until all ranks have mapped them.
const shmDir = "/dev/shm"

// shmCarrier opens links of shared memory. Each rank makes the rings that it
// reads, in the order of its peers.
type shmCarrier struct {
	hub      *shmHub
	files    shmFiles
	capacity int
	peers    []int
}

// shmOffer is where a rank's memory is.
type shmOffer struct {
	Dir      string
	Peers    []int // whose rings there are
	Capacity int   // bytes of data of each
}

// maxCapacity bounds the data of a ring in bytes.
const maxCapacity = 1 << 30

// errNonsense refuses an offer.
var errNonsense = errors.New("its offer makes no sense: run the same build on all ranks")

// decodeShmOffer reads a peer's offer: whose memory it is shows when it is mapped.
func decodeShmOffer(text []byte) (shmOffer, error) {
	var o shmOffer
	if err := json.Unmarshal(text, &o); err != nil {
		return o, err
	}
	name, ok := strings.CutPrefix(o.Dir, shmDir+"/galvani-")
	if !ok || name == "" || strings.ContainsAny(name, "/\x00") || len(o.Peers) > maxRanks ||
		o.Capacity < 1<<20 || o.Capacity > maxCapacity || o.Capacity&(o.Capacity-1) != 0 {
		return o, errNonsense
	}
	return o, nil
}

func newShmCarrier(t *natsTransport) carrier {
	return &shmCarrier{hub: newShmHub(t), capacity: shmCapacity(t.out.chunk, t.size)}
}

// joins implements carrier.
func (c *shmCarrier) joins(a, b greeting) bool { return a.Shm && b.Shm && a.Host == b.Host }

// offer implements carrier.
func (c *shmCarrier) offer(peers []int) (_ []byte, err error) {
	if c.files, err = newShmFiles(); err != nil {
		return nil, err
	}
	c.peers = peers
	if err := c.files.create(c.files.rings(), len(peers)*(shmControl+c.capacity)); err != nil {
		return nil, err
	}
	if c.hub.bell, err = newBell(c.files.bell()); err != nil {
		return nil, err
	}
	if c.hub.arena, err = openArena(c.files.arena(), c.hub.t.rank, c.hub.t.size); err != nil {
		return nil, err
	}
	return json.Marshal(shmOffer{c.files.dir, peers, c.capacity})
}

// open implements carrier.
func (c *shmCarrier) open(_ context.Context, peers []int, offers [][]byte) ([]link, []error) {
	links, errs := make([]link, c.hub.t.size), make([]error, c.hub.t.size)
	for _, peer := range peers {
		l, err := c.link(peer, offers[peer])
		if err != nil {
			errs[peer] = err
			continue
		}
		links[peer] = l
		c.hub.links = append(c.hub.links, l)
		c.hub.byPeer[peer] = l
		c.hub.open++
	}
	return links, errs
}

// link maps the two rings between this rank and a peer.
func (c *shmCarrier) link(peer int, text []byte) (*shmLink, error) {
	o, err := decodeShmOffer(text)
	if err != nil {
		return nil, err
	}
	at := slices.Index(o.Peers, c.hub.t.rank)
	if at < 0 || o.Capacity < shmEntry(c.hub.t.out.chunk) {
		return nil, errNonsense
	}
	theirs := shmFiles{o.Dir}
	size := shmControl + o.Capacity
	out, err := mapSegment(theirs.rings(), int64(at*size), size)
	if err != nil {
		return nil, err
	}
	size = shmControl + c.capacity
	in, err := mapSegment(c.files.rings(), int64(slices.Index(c.peers, peer)*size), size)
	if err != nil {
		unmapSegment(out)
		return nil, err
	}
	bell, err := openBell(theirs.bell())
	if err != nil {
		unmapSegment(out)
		unmapSegment(in)
		return nil, err
	}
	if c.hub.arena.peers[peer], err = mapSegment(theirs.arena(), 0, arenaBytes); err != nil {
		unmapSegment(out)
		unmapSegment(in)
		closeBell(bell)
		return nil, err
	}
	return &shmLink{hub: c.hub, peer: peer, in: ringOver(in), out: ringOver(out), memory: [2][]byte{in, out}, bell: bell}, nil
}

// settle implements carrier.
func (c *shmCarrier) settle() {
	c.files.remove()
	if len(c.hub.links) > 0 {
		return
	}
	if c.hub.bell != nil {
		_ = c.hub.bell.Close() // nobody rings it
	}
	if c.hub.arena != nil {
		c.hub.arena.close()
	}
}
