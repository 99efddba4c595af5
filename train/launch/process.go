package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a worker process of this machine. It lives as long as its
// standard input is open: closing the pipe, or dying, ends it too.
type process struct {
	rank   int
	advice string // where memory ran out
	cmd    *exec.Cmd
	in     io.WriteCloser
	log    *tailBuffer
	done   chan struct{} // closed when it has ended
	err    error         // how it ended; read after done
}

// startProcess starts this program again as worker rank, and hands it invite
// on standard input: credentials never show in arguments or environment.
func startProcess(rank int, invite []byte, advice string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("starting worker %d: finding this program: %w", rank, err)
	}
	p := &process{rank: rank, advice: advice, cmd: exec.Command(self, "worker"), log: &tailBuffer{}, done: make(chan struct{})}
	p.cmd.Env = environment(os.Environ())
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = childAttributes()
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting worker %d: %w", rank, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting worker %d: %w", rank, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if _, err := p.in.Write(append(invite, '\n')); err != nil {
		p.kill()
		return nil, fmt.Errorf("starting worker %d: %w", rank, errors.Join(err, p.exit()))
	}
	return p, nil
}

// pid returns the process ID.
func (p *process) pid() int { return p.cmd.Process.Pid }

// exit describes how the process ended, nil after success.
func (p *process) exit() error {
	<-p.done
	if p.err == nil {
		return nil
	}
	e := &ExitError{Rank: p.rank, PID: p.pid(), Last: p.log.String(), advice: p.advice}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		status, _ := exit.Sys().(syscall.WaitStatus)
		if status.Signaled() {
			e.Signal = status.Signal()
		}
		e.Code = exit.ExitCode()
	}
	return e
}

// unexpected describes a process that ended before it had anything to do.
func (p *process) unexpected() error {
	if err := p.exit(); err != nil {
		return err
	}
	return fmt.Errorf("worker %d (pid %d) ended before the job began", p.rank, p.pid())
}

// stop lets the process end by itself for a while, then kills it.
func (p *process) stop(grace time.Duration) {
	p.in.Close()
	select {
	case <-p.done:
	case <-time.After(grace):
		p.kill()
	}
}

// kill ends the process at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only if it has ended
	<-p.done
}

// ExitError says that a worker process ended without being asked to.
type ExitError struct {
	Rank, PID int
	Signal    syscall.Signal // 0 if it exited
	Code      int
	Last      string // the end of what it printed
	advice    string // where memory ran out
	// silent says that the worker was at work and reported no reason: it could
	// not, for its connection was lost.
	silent bool
}

// Error names the worker and how it ended.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exited with code %d", e.Code)
	if e.Signal != 0 {
		how = fmt.Sprintf("was killed by signal %d (%v)", e.Signal, e.Signal)
	}
	text := fmt.Sprintf("worker %d (pid %d) %s", e.Rank, e.PID, how)
	if e.Signal == syscall.SIGKILL {
		text += "; if nobody did it, the machine ran out of memory: " + e.advice
	}
	if e.Last != "" {
		text += "; it printed last:\n" + e.Last
	}
	return text
}

// crashed reports whether the process ended by no decision of its own.
func (e *ExitError) crashed() bool {
	const panicked = 2 // exit code of the Go run time
	return e.Signal != 0 && e.Signal != syscall.SIGTERM || e.Code == panicked
}

// tailBuffer keeps the end of what a process prints.
type tailBuffer struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 4096

// Write keeps the last tailBytes.
func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if cut := len(b.text) - tailBytes; cut > 0 {
		b.text = append(b.text[:0], b.text[cut:]...)
		if i := bytes.IndexByte(b.text, '\n'); i >= 0 {
			b.text = b.text[i+1:]
		}
	}
	return len(p), nil
}

// String gives what is kept, without trailing space.
func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimRight(string(b.text), " \n")
}
