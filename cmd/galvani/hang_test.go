//go:build linux

package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHangReportOfSilentWorker suspends a worker: the report names it, and what the
// other waits for.
func TestHangReportOfSilentWorker(t *testing.T) {
	for collectives, plan := range map[string]string{"shm": "dp=2", "tcp": "pp=2 micro=2", "nats": "dp=2"} {
		t.Run(collectives, func(t *testing.T) {
			t.Parallel()
			p, _ := endless(t, 2, "--max-restarts", "0", "--collectives", collectives, "--plan", plan)
			workers := p.workers(t)
			syscall.Kill(workers[1], syscall.SIGSTOP)
			p.failsWithin(t, 10*time.Second, workers, "no heartbeat for")
			report := p.report(t)
			for _, want := range []string{
				`(?m)^hang        a worker is silent; after step \d+ the workers are at:$`,
				`rank 0: .*; waits [12][.\d]*s for rank 1, (recv|meet) of (all-reduce|tensor) "[^"]+" `,
				`rank 1: does not answer, no heartbeat for [23][.\d]*s \(host \S+, pid ` + strconv.Itoa(workers[1]) + `\)`,
				`rank 1 holds up the others: nobody hears from it`,
			} {
				if !regexp.MustCompile(want).MatchString(report) {
					t.Errorf("the report does not say %s:\n%s", want, report)
				}
			}
			if !regexp.MustCompile(`rank 0: training, step \d+: .*(layer|gradient norm).*micro-batch \d; waits`).MatchString(report) &&
				!strings.Contains(report, `"vote to stop"`) { // that is between two steps
				t.Errorf("the report does not say where rank 0 is:\n%s", report)
			}
			t.Log(report)
		})
	}
}

// report is the last hang report that the program printed.
func (p *program) report(t *testing.T) string {
	t.Helper()
	text := p.errs.String()
	at := strings.LastIndex(text, "\nhang ")
	if at < 0 {
		t.Fatalf("there is no report:\n%s", text)
	}
	lines := strings.Split(text[at+1:], "\n")
	n := 1
	for n < len(lines) && strings.HasPrefix(lines[n], "     ") {
		n++
	}
	return strings.Join(lines[:n], "\n")
}

// TestHangReportOnDemand asks by a signal.
func TestHangReportOnDemand(t *testing.T) {
	p, _ := endless(t, 2)
	p.cmd.Process.Signal(syscall.SIGUSR1)
	until(t, "the report", func() bool { return strings.Contains(p.errs.String(), "\nhang ") })
	until(t, "its end", func() bool {
		return regexp.MustCompile(`no worker holds up another|holds up the others|all wait`).MatchString(p.errs.String())
	})
	report := p.report(t)
	if want := `(?s)asked by a signal; after step \d+ .*rank 0: \w+.*, step \d+.*rank 1: \w+.*, step \d+`; !regexp.MustCompile(want).MatchString(report) {
		t.Errorf("the report does not say %s:\n%s", want, report)
	}
	p.cmd.Process.Signal(os.Interrupt)
	if err := p.wait(t, 10*time.Second); err != nil {
		t.Fatalf("%v:\n%s", err, p.errs.String())
	}
}

// TestHangTimeout holds up the frames of a worker, which goes on to live: after the
// time that --hang-timeout gives the report says who waits for whom, and when the
// frames come the run goes on.
func TestHangTimeout(t *testing.T) {
	address := freeAddress(t)
	server := startNATS(t, address)
	defer func() {
		server.Process.Kill()
		server.Wait()
	}()
	until(t, "a NATS server", func() bool { return listens(address) })
	proxy := newProxy(t, address)
	p, _ := endless(t, 2, "--nats", proxy.url(), "--collectives", "nats", "--hang-timeout", "400ms")
	reported := make(chan struct{})
	s := proxy.arm(func(m *message) bool { return m.frame && m.kind == frameData && m.op == opAllReduce && m.src == 1 },
		func(m *message) [][]byte {
			<-reported
			return [][]byte{m.body}
		})
	<-s.hit
	until(t, "the report", func() bool {
		return regexp.MustCompile(`\n +(all wait|\S+ \d holds|no worker holds).*\n`).MatchString(p.errs.String())
	})
	close(reported)
	report := p.report(t)
	for _, want := range []string{
		`(?m)^hang        no step was done for 400ms; after step \d+ the workers are at:$`,
		`rank 0: training, step \d+.*; waits [\d.]*m?s for rank 1, recv of all-reduce "`,
		`rank 1: training, step \d+`,
	} {
		if !regexp.MustCompile(want).MatchString(report) {
			t.Errorf("the report does not say %s:\n%s", want, report)
		}
	}
	p.cmd.Process.Signal(os.Interrupt)
	if err := p.wait(t, 10*time.Second); err != nil {
		t.Fatalf("%v:\n%s", err, p.errs.String())
	}
	if strings.Contains(p.errs.String(), "\nfailed ") {
		t.Errorf("it did not go on:\n%s", p.errs.String())
	}
}
