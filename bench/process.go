package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// grace is how long a child may take to end once its input has ended; longer
// than any step.
const grace = 20 * time.Second

// process is a child as its parent sees it.
type process struct {
	kind  string
	ctx   context.Context
	cmd   *exec.Cmd
	stdin io.WriteCloser
	in    *json.Encoder
	out   *json.Decoder
	fault bytes.Buffer // what it wrote to standard error
	told  bool         // its error was returned
	ready reply        // its first
}

// launch starts this program as a child of the given kind, with threads, and
// waits until it is ready. It must be closed. The child is killed when ctx ends.
func launch(ctx context.Context, kind string, w workload, threads int) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: finding this program to run it as %s: %w", kind, err)
	}
	p := &process{kind: kind, ctx: ctx, cmd: exec.CommandContext(ctx, self, "bench-child", kind)}
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", threads))
	p.cmd.Stderr = &p.fault
	p.cmd.WaitDelay = time.Second
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
	p.stdin, p.in, p.out = stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)
	if p.ready, err = p.ask(w); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// steps has the child run n steps.
func (p *process) steps(n int) (reply, error) {
	r, err := p.ask(request{Steps: n})
	if err == nil && (len(r.Seconds) != n || len(r.Losses) != n) {
		err = fmt.Errorf("bench: %s was asked for %d steps and reports %d", p.kind, n, len(r.Seconds))
	}
	return r, err
}

// ask sends a question and waits for the answer.
func (p *process) ask(question any) (reply, error) {
	var r reply
	// A child that has failed does not read: its answer, if any, tells more.
	sent := p.in.Encode(question)
	if err := p.out.Decode(&r); err != nil {
		if sent != nil && errors.Is(err, io.EOF) {
			err = sent
		}
		return reply{}, p.failed("asking", err)
	}
	if r.Error != "" {
		p.told = true
		return reply{}, fmt.Errorf("bench: %s: %s", p.kind, r.Error)
	}
	return r, nil
}

// failed says what went wrong.
func (p *process) failed(doing string, err error) error {
	if cause := context.Cause(p.ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("bench: %s the process for %s: %w", doing, p.kind, err)
}

// close ends the child and waits for it. A child that failed and did not get to
// tell has written why to standard error.
func (p *process) close() error {
	p.stdin.Close()
	kill := time.AfterFunc(grace, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	err := p.cmd.Wait()
	if err == nil || p.told || p.ctx.Err() != nil {
		return nil
	}
	if said := bytes.TrimSpace(p.fault.Bytes()); len(said) > 0 {
		return fmt.Errorf("bench: the process for %s: %w: %s", p.kind, err, tail(said))
	}
	return fmt.Errorf("bench: the process for %s: %w", p.kind, err)
}

// tail is the end of a long text.
func tail(text []byte) []byte {
	const most = 2000
	return text[max(0, len(text)-most):]
}
