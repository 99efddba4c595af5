package comm

// sending sends the blocks of a collective beside what its caller receives, up to
// a few blocks ahead of it: what arrives then finds its receiver waiting, and
// both ways of a link are busy.
type sending struct {
	got  chan struct{} // a token for each block received; closed after an error
	done chan error
}

// beside begins to send blocks, each by a call of send.
func (g *Group) beside(blocks int, send func(b int) error) sending {
	s := sending{make(chan struct{}, blocks+1), make(chan error, 1)}
	flight := max(2, ahead/(g.Size()-1))
	go func() {
		for b := range blocks {
			if b >= flight {
				<-s.got
			}
			if err := send(b); err != nil {
				s.done <- err
				return
			}
		}
		s.done <- nil
	}()
	return s
}

// received says that a block has come.
func (s sending) received() {
	select {
	case s.got <- struct{}{}:
	default: // fewer blocks to send than to receive
	}
}

// fail ends the sending and returns err, the error of a receive. It ends soon: an
// error of a transport is its last.
func (s sending) fail(err error) error {
	close(s.got)
	<-s.done
	return err
}

// wait returns when all is sent.
func (s sending) wait() error {
	close(s.got) // where there are fewer blocks to receive than to send
	return <-s.done
}
