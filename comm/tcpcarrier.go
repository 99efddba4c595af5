package comm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// tcpCarrier opens connections. The higher rank of a pair dials.
type tcpCarrier struct {
	t        *natsTransport
	identity *identity
	listener net.Listener
	expected chan struct{} // closed when offers are known
	offers   []tcpOffer    // by rank; of peers only
	accepted []chan link   // by rank
	life     context.Context
	cancel   context.CancelFunc
	serving  sync.WaitGroup
}

// tcpOffer is how a rank can be reached, and known.
type tcpOffer struct {
	Hosts []string // addresses for ranks of other hosts
	Port  int      // there and on loopback
	Print []byte   // SHA-256 of its certificate
}

// maxAddresses bounds those of a rank: each is tried.
const maxAddresses = 64

// decodeTCPOffer reads a peer's offer. What cannot be an offer is not of a peer that
// may call.
func decodeTCPOffer(text []byte) (tcpOffer, error) {
	var o tcpOffer
	if err := json.Unmarshal(text, &o); err != nil {
		return tcpOffer{}, err
	}
	long := slices.ContainsFunc(o.Hosts, func(host string) bool { return len(host) > 255 })
	if len(o.Hosts) > maxAddresses || long || o.Port < 1 || o.Port > 1<<16-1 || len(o.Print) != sha256.Size {
		return tcpOffer{}, errNonsense
	}
	return o, nil
}

func newTCPCarrier(t *natsTransport) carrier {
	c := &tcpCarrier{t: t, expected: make(chan struct{}), offers: make([]tcpOffer, t.size), accepted: make([]chan link, t.size)}
	for r := range c.accepted {
		c.accepted[r] = make(chan link, 1)
	}
	c.life, c.cancel = context.WithCancel(t.life)
	return c
}

// joins implements carrier: what cannot connect is found out by trying.
func (c *tcpCarrier) joins(_, _ greeting) bool { return true }

// near reports whether a rank is on this host.
func (c *tcpCarrier) near(rank int) bool { return c.t.routes.Hosts[rank] == c.t.routes.Hosts[c.t.rank] }

// offer listens: on loopback alone if all peers are on this host.
func (c *tcpCarrier) offer(peers []int) ([]byte, error) {
	var err error
	if c.identity, err = newIdentity(); err != nil {
		return nil, err
	}
	o := tcpOffer{Print: c.identity.print}
	address := "127.0.0.1:0"
	if slices.ContainsFunc(peers, func(r int) bool { return !c.near(r) }) {
		address = ":0"
		if o.Hosts, err = hostAddresses(); err != nil {
			return nil, err
		}
	}
	if c.listener, err = net.Listen("tcp", address); err != nil {
		return nil, err
	}
	o.Port = c.listener.Addr().(*net.TCPAddr).Port
	c.serving.Go(c.serve)
	return json.Marshal(o)
}

// serve accepts connections until the listener is closed.
func (c *tcpCarrier) serve() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.serving.Go(func() {
			peer, l, err := c.admit(conn.(*net.TCPConn))
			if err != nil {
				_ = conn.Close() // a stranger; a peer finds that out itself
				return
			}
			select {
			case c.accepted[peer] <- l:
			default:
				l.close() // it has one
			}
		})
	}
}

// admit finds out which peer has called.
func (c *tcpCarrier) admit(conn *net.TCPConn) (int, link, error) {
	stop := context.AfterFunc(c.life, func() { _ = conn.Close() })
	defer stop()
	select {
	case <-c.expected:
	case <-c.life.Done():
		return 0, nil, context.Cause(c.life)
	}
	keys, print, err := c.identity.accept(conn, func(print []byte) bool { return c.rankOf(print) >= 0 })
	if err != nil {
		return 0, nil, err
	}
	peer := c.rankOf(print)
	return peer, c.link(peer, conn, keys), nil
}

// rankOf finds the higher peer that has a certificate, -1 if none does.
func (c *tcpCarrier) rankOf(print []byte) int {
	return slices.IndexFunc(c.offers, func(o tcpOffer) bool { return len(o.Print) > 0 && bytes.Equal(o.Print, print) })
}

func (c *tcpCarrier) link(peer int, conn *net.TCPConn, keys *sealing) link {
	if c.near(peer) {
		keys = nil // who can read loopback can read our memory
	}
	return newTCPLink(c.t, peer, conn, keys)
}

// open implements carrier.
func (c *tcpCarrier) open(ctx context.Context, peers []int, offers [][]byte) ([]link, []error) {
	links, errs := make([]link, c.t.size), make([]error, c.t.size)
	for _, peer := range peers {
		c.offers[peer], errs[peer] = decodeTCPOffer(offers[peer])
	}
	close(c.expected)
	var all sync.WaitGroup
	for _, peer := range peers {
		if errs[peer] != nil {
			continue
		}
		all.Go(func() {
			if peer < c.t.rank {
				links[peer], errs[peer] = c.dial(ctx, peer)
				return
			}
			select {
			case links[peer] = <-c.accepted[peer]:
			case <-ctx.Done():
				errs[peer] = errors.New("no connection from it came")
			case <-c.t.life.Done():
				errs[peer] = context.Cause(c.t.life)
			}
		})
	}
	all.Wait()
	return links, errs
}

// dial tries the addresses of a peer one after the other.
func (c *tcpCarrier) dial(ctx context.Context, peer int) (link, error) {
	o := c.offers[peer]
	hosts := o.Hosts
	if c.near(peer) {
		hosts = []string{"127.0.0.1"}
	}
	err := errors.New("it has no address but loopback")
	for i, host := range hosts {
		var l link
		// Each address gets its share of the time.
		end, _ := ctx.Deadline()
		try, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(len(hosts)-i))
		l, err = c.call(try, peer, net.JoinHostPort(host, strconv.Itoa(o.Port)), o.Print)
		cancel()
		if err == nil {
			return l, nil
		}
	}
	return nil, err
}

// call dials one address.
func (c *tcpCarrier) call(ctx context.Context, peer int, address string, print []byte) (link, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	keys, err := c.identity.call(conn.(*net.TCPConn), print)
	if err != nil {
		_ = conn.Close() // the error before tells more
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return c.link(peer, conn.(*net.TCPConn), keys), nil
}

// settle stops listening, and closes what was accepted and not taken.
func (c *tcpCarrier) settle() {
	if c.listener != nil {
		_ = c.listener.Close() // nothing is expected of it any more
	}
	c.cancel()
	c.serving.Wait()
	for _, a := range c.accepted {
		select {
		case l := <-a:
			l.close()
		default:
		}
	}
}
