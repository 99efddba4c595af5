//go:build linux

package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxy lies between all processes of a run and its NATS server, and between workers
// that a TCP connection joins. It reads the protocols' lines and the headers of
// frames, so that a fault can strike at a chosen one.
type proxy struct {
	listener net.Listener
	upstream string

	mu       sync.Mutex
	armed    *strike
	conns    map[*proxied]bool
	ports    map[int]int // of TCP proxies, by the port behind
	closers  []io.Closer
	held     *message
	released int
	running  sync.WaitGroup
}

// proxied is a connection through the proxy.
type proxied struct {
	client, server net.Conn
	name           string // as the client gives it, "worker 1 data"
	cut            bool   // nothing goes through
}

// message is what a process publishes: of frames with their header read, of events
// with their kind.
type message struct {
	subject string // empty over TCP
	body    []byte
	event   string // kind of an event
	rank    int    // who reports it

	frame              bool
	kind, op           byte
	src, dst           int
	edge, epoch, micro uint32
	step, total        uint64
}

const frameHeader = 64

// Kinds and operations of frames, as comm numbers them.
const (
	frameData    = 1
	opSend       = 0
	opAllReduce  = 1
	opAllGather  = 2
	opReduceScat = 3
	opExchange   = 7
)

// strike is a fault that waits for its message.
type strike struct {
	match func(m *message) bool
	act   func(m *message) [][]byte // what is sent in place of the message
	hit   chan time.Time
}

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, upstream: upstream, conns: map[*proxied]bool{}, ports: map[int]int{}}
	p.running.Go(func() { p.accept(l, upstream, p.nats) })
	t.Cleanup(func() {
		p.mu.Lock()
		l.Close()
		for _, c := range p.closers {
			c.Close()
		}
		for c := range p.conns {
			c.client.Close()
			c.server.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

// accept passes connections on to an address. There serve reads what clients send.
func (p *proxy) accept(l net.Listener, to string, serve func(c *proxied, from net.Conn, to net.Conn) error) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", to)
		if err != nil {
			client.Close()
			continue
		}
		c := &proxied{client: client, server: server}
		p.mu.Lock()
		p.conns[c] = true
		p.mu.Unlock()
		end := func() {
			client.Close()
			server.Close()
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
		}
		back := p.raw
		if to != p.upstream {
			back = serve // peers speak one protocol both ways
		}
		p.running.Go(func() { defer end(); _ = serve(c, client, server) })
		p.running.Go(func() { defer end(); _ = back(c, server, client) })
	}
}

// isCut reports whether nothing may pass.
func (p *proxy) isCut(c *proxied) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.cut
}

// cut has nothing pass any more of what a worker's connections carry now, without
// closing them.
func (p *proxy) cut(rank int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if strings.HasPrefix(c.name, fmt.Sprintf("worker %d ", rank)) {
			c.cut = true
		}
	}
}

// raw copies what the server says.
func (p *proxy) raw(c *proxied, from, to net.Conn) error {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return err
		}
		if p.isCut(c) {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return err
		}
	}
}

// nats passes on what a client of the server says.
func (p *proxy) nats(c *proxied, from, to net.Conn) error {
	in, out := bufio.NewReaderSize(from, 64<<10), bufio.NewWriterSize(to, 64<<10)
	for {
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if text, ok := strings.CutPrefix(line, "CONNECT "); ok {
			var connect struct{ Name string }
			if json.Unmarshal([]byte(text), &connect) == nil {
				p.mu.Lock()
				c.name = connect.Name
				p.mu.Unlock()
			}
		}
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "PUB" {
			if !p.isCut(c) {
				out.WriteString(line)
			}
			continue
		}
		n, err := strconv.Atoi(fields[len(fields)-1])
		if err != nil {
			return err
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		if p.isCut(c) {
			continue
		}
		for _, b := range p.observe(readMessage(fields[1], body[:n])) {
			fmt.Fprintf(out, "%s %d\r\n%s\r\n", strings.Join(fields[:len(fields)-1], " "), len(b), b)
		}
	}
}

// peers passes on what workers say to each other over TCP: TLS records at first, then
// frames.
func (p *proxy) peers(_ *proxied, from, to net.Conn) error {
	in := bufio.NewReaderSize(from, 64<<10)
	for {
		head, err := in.Peek(8)
		if err != nil {
			return err
		}
		n := 5 + int(binary.BigEndian.Uint16(head[3:]))
		isFrame := string(head[4:8]) == "GALV"
		if isFrame {
			n = 4 + frameHeader + int(binary.LittleEndian.Uint32(head))
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		if !isFrame {
			if _, err := to.Write(body); err != nil {
				return err
			}
			continue
		}
		for _, b := range p.observe(readMessage("", body[4:])) {
			b = append(binary.LittleEndian.AppendUint32(nil, uint32(len(b)-frameHeader)), b...)
			if _, err := to.Write(b); err != nil {
				return err
			}
		}
	}
}

// readMessage reads the header of a frame or the kind of an event.
func readMessage(subject string, body []byte) *message {
	m := &message{subject: subject, body: body}
	tokens := strings.Split(subject, ".")
	if len(tokens) == 6 && tokens[3] == "evt" {
		m.event = tokens[5]
		m.rank, _ = strconv.Atoi(tokens[4])
	}
	if len(body) < frameHeader || string(body[:4]) != "GALV" {
		return m
	}
	le := binary.LittleEndian
	m.frame, m.kind, m.op = true, body[5], body[7]
	m.src, m.dst = int(le.Uint16(body[8:])), int(le.Uint16(body[10:]))
	m.edge, m.epoch, m.micro = le.Uint32(body[12:]), le.Uint32(body[16:]), le.Uint32(body[20:])
	m.step, m.total = le.Uint64(body[24:]), le.Uint64(body[40:])
	return m
}

// observe returns what is to be sent in place of a message.
func (p *proxy) observe(m *message) [][]byte {
	p.mu.Lock()
	held := p.held
	if held != nil && m.frame && m.epoch > held.epoch {
		p.held = nil
		p.mu.Unlock()
		p.release(held)
		p.mu.Lock()
	}
	s := p.armed
	if s == nil || !s.match(m) {
		p.mu.Unlock()
		if m.frame && m.op == opExchange {
			return [][]byte{p.redirect(m)}
		}
		return [][]byte{m.body}
	}
	p.armed = nil
	p.mu.Unlock()
	s.hit <- time.Now()
	return s.act(m)
}

// arm has a fault strike at the next message that matches.
func (p *proxy) arm(match func(m *message) bool, act func(m *message) [][]byte) *strike {
	s := &strike{match: match, act: act, hit: make(chan time.Time, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = s
	return s
}

// disarm gives up a fault, and reports whether it had not struck.
func (p *proxy) disarm(s *strike) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.armed == s
	if was {
		p.armed = nil
	}
	return was
}

// hold keeps a message until a frame of a later epoch passes.
func (p *proxy) hold(m *message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = m
}

// release publishes a message that was held, on a connection of its own. What came
// over TCP has no connection any more to come on.
func (p *proxy) release(m *message) {
	p.mu.Lock()
	p.released++
	p.mu.Unlock()
	if m.subject == "" {
		return
	}
	c, err := net.Dial("tcp", p.upstream)
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"name\":\"late\"}\r\nPUB %s %d\r\n%s\r\nPING\r\n", m.subject, len(m.body), m.body)
	c.SetReadDeadline(time.Now().Add(time.Second))
	for lines := bufio.NewScanner(c); lines.Scan() && lines.Text() != "PONG"; {
	}
}

// redirect has workers connect to each other through the proxy: it changes the port in
// their offers.
func (p *proxy) redirect(m *message) []byte {
	var attempt map[string]json.RawMessage
	var text string
	var offer map[string]json.RawMessage
	var port int
	if json.Unmarshal(m.body[frameHeader:], &attempt) != nil || json.Unmarshal(attempt["Offer"], &text) != nil {
		return m.body
	}
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(plain, &offer) != nil || json.Unmarshal(offer["Port"], &port) != nil {
		return m.body
	}
	offer["Port"], _ = json.Marshal(p.portTo(port))
	plain, _ = json.Marshal(offer)
	attempt["Offer"], _ = json.Marshal(plain)
	payload, _ := json.Marshal(attempt)
	body := append(append([]byte(nil), m.body[:frameHeader]...), payload...)
	binary.LittleEndian.PutUint64(body[40:], uint64(len(payload)))
	sign(body)
	return body
}

// portTo is the port of a proxy to a port.
func (p *proxy) portTo(port int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to := p.ports[port]; to != 0 {
		return to
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return port
	}
	p.closers = append(p.closers, l)
	p.running.Go(func() { p.accept(l, fmt.Sprintf("127.0.0.1:%d", port), p.peers) })
	p.ports[port] = l.Addr().(*net.TCPAddr).Port
	return p.ports[port]
}

var castagnoliTable = crc32.MakeTable(crc32.Castagnoli)

// sign sets the checksums of a frame of NATS.
func sign(body []byte) {
	binary.LittleEndian.PutUint32(body[56:], crc32.Checksum(body[frameHeader:], castagnoliTable))
	binary.LittleEndian.PutUint32(body[60:], crc32.Checksum(body[:60], castagnoliTable))
}
