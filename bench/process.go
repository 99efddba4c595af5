package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// grace is how long a child may take to end once its input has ended; longer
// than any step.
const grace = 20 * time.Second

// maxSaid bounds what a child says in all, in bytes.
const maxSaid = 256 << 20

// process is a child as its parent sees it.
type process struct {
	name    string
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timeout time.Duration // for an answer; 0 for any
	limit   bool          // ask it for the processor's limit
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	in      *json.Encoder
	out     *json.Decoder
	fault   bytes.Buffer // what it wrote to standard error
	told    bool         // its error was returned
	ready   reply        // its first
}

// answer is what a child writes.
type answer interface{ fault() string }

// start starts a command with the given environment. It must be closed. The
// process and what it started are killed when ctx ends.
func start(ctx context.Context, name string, env []string, timeout time.Duration, command ...string) (*process, error) {
	p := &process{name: name, timeout: timeout}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.cmd = exec.CommandContext(p.ctx, command[0], command[1:]...)
	p.cmd.Env, p.cmd.Stderr = env, &p.fault
	group(p.cmd)
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, p.failed("starting", err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, p.failed("starting", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, p.failed("starting", err)
	}
	p.stdin, p.in, p.out = stdin, json.NewEncoder(stdin), json.NewDecoder(io.LimitReader(stdout, maxSaid))
	return p, nil
}

// launch starts a side of the workload and waits until it is ready.
func launch(ctx context.Context, name string, env []string, timeout time.Duration, w workload, command ...string) (*process, error) {
	p, err := start(ctx, name, env, timeout, command...)
	if err != nil {
		return nil, err
	}
	if err := p.ask(w.setup(), &p.ready); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// steps has the child run n steps.
func (p *process) steps(n int) (reply, error) {
	var r reply
	err := p.ask(request{Steps: n, Limit: p.limit}, &r)
	if err == nil && (len(r.Seconds) != n || len(r.Losses) != n) {
		err = fmt.Errorf("bench: %s was asked for %d steps and reports %d", p.name, n, len(r.Seconds))
	}
	return r, err
}

// version is what the child says of itself.
func (p *process) version() string { return p.ready.Version }

// ask sends a question and waits for the answer.
func (p *process) ask(question any, a answer) error {
	if p.timeout > 0 {
		late := fmt.Errorf("no answer within %v", p.timeout)
		defer time.AfterFunc(p.timeout, func() { p.cancel(late) }).Stop()
	}
	// A child that has failed does not read: its answer, if any, tells more.
	sent := p.in.Encode(question)
	if err := p.out.Decode(a); err != nil {
		if sent != nil && errors.Is(err, io.EOF) {
			err = sent
		}
		return p.failed("asking", err)
	}
	if fault := a.fault(); fault != "" {
		p.told = true
		return fmt.Errorf("bench: %s: %s", p.name, fault)
	}
	return nil
}

// failed says what went wrong.
func (p *process) failed(doing string, err error) error {
	if cause := context.Cause(p.ctx); cause != nil {
		err = cause
	}
	if p.cmd.Process == nil {
		p.cancel(nil) // it will not be closed
	}
	return fmt.Errorf("bench: %s the process for %s: %w", doing, p.name, err)
}

// close ends the child and waits for it. A child that failed and did not get to
// tell has written why to standard error.
func (p *process) close() error {
	defer p.cancel(nil)
	p.stdin.Close()
	kill := time.AfterFunc(grace, func() { p.cancel(errors.New("it did not end")) })
	defer kill.Stop()
	err := p.cmd.Wait()
	if err == nil || p.told || p.ctx.Err() != nil {
		return nil
	}
	if said := bytes.TrimSpace(p.fault.Bytes()); len(said) > 0 {
		return fmt.Errorf("bench: the process for %s: %w: %s", p.name, err, tail(said))
	}
	return fmt.Errorf("bench: the process for %s: %w", p.name, err)
}

// tail is the end of a long text.
func tail(text []byte) []byte {
	const most = 2000
	return text[max(0, len(text)-most):]
}
