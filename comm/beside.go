package comm

// sending sends the blocks of a collective while its caller receives others, up to
// a few blocks ahead of it. Where a transport takes in what comes at once, it
// does so on a goroutine of its own: what comes then finds its receiver waiting,
// and both ways of a link are busy. Where frames wait in shared memory it does so
// in turns with receiving.
type sending struct {
	send         func(b int) error
	blocks, sent int
	flight       int
	got          chan struct{} // a token for each block received; nil in turns
	done         chan error
}

// beside begins to send blocks, each by a call of send.
func (g *Group) beside(blocks int, send func(b int) error) *sending {
	s := &sending{send: send, blocks: blocks, flight: max(2, ahead/(g.Size()-1))}
	if !g.eager {
		s.flight = 2
		return s
	}
	s.got, s.done = make(chan struct{}, blocks+1), make(chan error, 1)
	go func() { s.done <- s.run() }()
	return s
}

func (s *sending) run() error {
	for b := range s.blocks {
		if b >= s.flight {
			<-s.got
		}
		if err := s.send(b); err != nil {
			return err
		}
	}
	return nil
}

// before is called before block b is received.
func (s *sending) before(b int) error {
	if s.got == nil {
		return s.upTo(b + s.flight)
	}
	if b > 0 && b < cap(s.got) {
		s.got <- struct{}{}
	}
	return nil
}

func (s *sending) upTo(n int) error {
	for ; s.sent < min(n, s.blocks); s.sent++ {
		if err := s.send(s.sent); err != nil {
			return err
		}
	}
	return nil
}

// fail ends the sending and returns err, the error of a receive. It ends soon: an
// error of a transport is its last.
func (s *sending) fail(err error) error {
	if s.got != nil {
		close(s.got)
		<-s.done //nolint:errcheck // it follows from err
	}
	return err
}

// wait returns when all is sent.
func (s *sending) wait() error {
	if s.got == nil {
		return s.upTo(s.blocks)
	}
	close(s.got) // there may be fewer blocks to receive than to send
	return <-s.done
}
