//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fault is something that goes wrong in a run. strike does it, when the run is in the
// phase, and returns when it was done; false if the run has ended before.
type fault struct {
	name   string
	planes []string // where it can be; any if empty
	phases []string // in which it can be told to strike; any if empty
	strike func(r *chaosRun, phase string) (time.Time, bool)
}

// Phases of a step.
const (
	inForward    = "forward"
	inBackward   = "backward"
	inReduction  = "reduction"
	inVote       = "vote"
	inUpdate     = "update"
	inSnapshot   = "snapshot"
	inCheckpoint = "checkpoint"
)

// faults are those of the suite. Faults of plugins are added to it where plugins are
// started.
var chaosFaults = []fault{
	{name: "SIGKILL", strike: signalled(syscall.SIGKILL, false)},
	{name: "SIGABRT", strike: signalled(syscall.SIGABRT, false)},
	{name: "SIGKILL of all", strike: signalled(syscall.SIGKILL, true)},
	{name: "SIGSTOP", strike: signalled(syscall.SIGSTOP, false)},
	{name: "cut off", strike: cutOff},
	{name: "server killed", strike: serverKilled},
	{name: "frame dropped", planes: framed, phases: ofFrames, strike: onFrame(func(_ *chaosRun, _ *message) [][]byte { return nil })},
	{name: "frame twice", planes: framed, phases: ofFrames, strike: onFrame(func(_ *chaosRun, m *message) [][]byte { return [][]byte{m.body, m.body} })},
	{name: "payload bit", planes: framed, phases: ofFrames, strike: onFrame(func(r *chaosRun, m *message) [][]byte {
		return [][]byte{flipped(r, m.body, frameHeader, len(m.body))}
	})},
	{name: "header bit", planes: framed, phases: ofFrames, strike: onFrame(func(r *chaosRun, m *message) [][]byte {
		return [][]byte{flipped(r, m.body, 0, frameHeader)}
	})},
	{name: "frame late", planes: framed, phases: ofFrames, strike: onFrame(func(r *chaosRun, m *message) [][]byte {
		r.proxy.hold(m)
		return nil
	})},
	{name: "ring payload bit", planes: []string{"shm"}, phases: []string{""}, strike: onRing(ringPayload)},
	{name: "ring header bit", planes: []string{"shm"}, phases: []string{""}, strike: onRing(ringHeader)},
	{name: "ring frame dropped", planes: []string{"shm"}, phases: []string{""}, strike: onRing(ringDrop)},
}

var (
	framed   = []string{"nats", "tcp"}
	ofFrames = []string{inForward, inBackward, inReduction, inVote}
)

// flipped is b with one bit between two bytes changed.
func flipped(r *chaosRun, b []byte, from, to int) []byte {
	b = bytes.Clone(b)
	b[from+r.draw.IntN(max(1, to-from))] ^= 1 << r.draw.IntN(8)
	return b
}

// signalled sends a signal to one worker, or to all.
func signalled(sig syscall.Signal, all bool) func(r *chaosRun, phase string) (time.Time, bool) {
	return func(r *chaosRun, phase string) (time.Time, bool) {
		return r.in(phase, func(*message) [][]byte {
			victims := r.workers
			if !all {
				victims = victims[r.draw.IntN(len(victims)):][:1]
			}
			for _, pid := range victims {
				syscall.Kill(pid, sig)
			}
			return nil
		})
	}
}

// cutOff has nothing pass any more between a worker and the server.
func cutOff(r *chaosRun, phase string) (time.Time, bool) {
	return r.in(phase, func(*message) [][]byte {
		r.proxy.cut(r.draw.IntN(len(r.workers)))
		return nil
	})
}

// serverKilled kills the NATS server, and starts another soon after.
func serverKilled(r *chaosRun, phase string) (time.Time, bool) {
	away := time.Duration(r.draw.IntN(300)) * time.Millisecond
	return r.in(phase, func(*message) [][]byte {
		r.server.Process.Kill()
		r.server.Wait()
		time.AfterFunc(away, func() {
			r.serving.Lock()
			defer r.serving.Unlock()
			if !r.over {
				r.server = startNATS(r.t, r.address)
			}
		})
		return nil
	})
}

// onFrame changes a frame of tensors.
func onFrame(change func(r *chaosRun, m *message) [][]byte) func(r *chaosRun, phase string) (time.Time, bool) {
	return func(r *chaosRun, phase string) (time.Time, bool) {
		return r.strikeAt(func(m *message) bool { return m.frame && m.kind == frameData && m.total > 0 && r.phaseOf(m) == phase },
			func(m *message) [][]byte { return change(r, m) })
	}
}

// phaseOf is what phase of a step a frame of tensors belongs to.
func (r *chaosRun) phaseOf(m *message) string {
	const norm, vote = 32, 1 // elements
	switch {
	case m.kind != frameData || m.op == opExchange:
		return ""
	case m.op == opSend && m.dst > m.src, m.op == opAllGather:
		return inForward
	case m.op == opSend, m.op == opReduceScat:
		return inBackward
	case m.op == opAllReduce && m.micro == norm:
		return inVote
	case m.op == opAllReduce && m.micro == vote:
		return inUpdate // its rank has done the update
	case m.op == opAllReduce:
		return inReduction
	}
	return ""
}

// in does something in a phase of a step, and lets pass what told the phase.
func (r *chaosRun) in(phase string, do func(m *message) [][]byte) (time.Time, bool) {
	if phase == inCheckpoint {
		return r.duringCheckpoint(do)
	}
	match := func(m *message) bool { return m.frame && r.phaseOf(m) == phase }
	if phase == inSnapshot {
		match = func(m *message) bool { return m.event == "snapshot" }
	}
	if phase == "" { // no message tells it
		time.Sleep(time.Duration(r.draw.IntN(20)) * time.Millisecond)
		do(nil)
		return time.Now(), true
	}
	return r.strikeAt(match, func(m *message) [][]byte {
		do(m)
		return [][]byte{m.body}
	})
}

// strikeAt waits for a message, and has act done to it.
func (r *chaosRun) strikeAt(match func(m *message) bool, act func(m *message) [][]byte) (time.Time, bool) {
	s := r.proxy.arm(match, act)
	select {
	case at := <-s.hit:
		return at, true
	case err := <-r.program.done:
		r.program.done <- err
		return time.Time{}, !r.proxy.disarm(s)
	case <-time.After(20 * time.Second):
		r.t.Fatalf("no message of the phase has come:\n%s", r.program.errs.String())
		return time.Time{}, false
	}
}

// duringCheckpoint waits for the files of a checkpoint to grow.
func (r *chaosRun) duringCheckpoint(do func(m *message) [][]byte) (time.Time, bool) {
	for range 200_000 {
		if partial, _ := filepath.Glob(filepath.Join(r.out, "checkpoints", "*.partial")); len(partial) > 0 {
			at := time.Now()
			do(nil)
			return at, true
		}
		select {
		case err := <-r.program.done:
			r.program.done <- err
			return time.Time{}, false
		case <-time.After(100 * time.Microsecond):
		}
	}
	r.t.Fatal("no checkpoint is begun")
	return time.Time{}, false
}

// Layout of a ring in shared memory, as in comm's shmRing.
const (
	ringHead, ringTail = 0, 128
	ringData           = 4096
	ringPreamble       = 128
	ringMegabyte       = 1 << 20
)

// onRing stops the workers, and changes the oldest frame in a ring of shared memory
// that its reader has not taken out yet.
func onRing(change func(r *chaosRun, memory *os.File, ring, tail, entry, payload int64)) func(r *chaosRun, phase string) (time.Time, bool) {
	return func(r *chaosRun, _ string) (time.Time, bool) {
		for range 2000 {
			time.Sleep(time.Duration(r.draw.IntN(1000)) * time.Microsecond)
			at, ok := r.stopped(change)
			if ok {
				return at, true
			}
			select {
			case err := <-r.program.done:
				r.program.done <- err
				return time.Time{}, false
			default:
			}
		}
		r.t.Fatal("no ring holds a frame")
		return time.Time{}, false
	}
}

// stopped is one attempt of onRing.
func (r *chaosRun) stopped(change func(r *chaosRun, memory *os.File, ring, tail, entry, payload int64)) (time.Time, bool) {
	order := slices.Clone(r.workers)
	r.draw.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for i, pid := range order {
		if i > 0 {
			time.Sleep(time.Millisecond) // the others fill the rings of the first
		}
		syscall.Kill(pid, syscall.SIGSTOP)
		defer syscall.Kill(pid, syscall.SIGCONT)
	}
	pid := order[0]
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return time.Time{}, false
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		r.t.Skipf("another process's memory cannot be written here: %v", err)
	}
	defer memory.Close()
	word := func(at int64) int64 {
		var b [8]byte
		memory.ReadAt(b[:], at)
		return int64(binary.LittleEndian.Uint64(b[:]))
	}
	for _, m := range regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) .*/galvani-[^/]*/rings`).FindAllStringSubmatch(string(maps), -1) {
		from, _ := strconv.ParseInt(m[1], 16, 64)
		to, _ := strconv.ParseInt(m[2], 16, 64)
		capacity := to - from - ringData
		head, tail := word(from+ringHead), word(from+ringTail)
		if capacity < ringMegabyte || head == tail {
			continue
		}
		at := tail & (capacity - 1)
		payload := word(from+ringData+at) & 0xffffffff
		if payload == 0 || payload > capacity { // a mark, or the end of the ring
			continue
		}
		change(r, memory, from, tail, from+ringData+at, payload)
		return time.Now(), true
	}
	return time.Time{}, false
}

func flipAt(r *chaosRun, memory *os.File, at int64) {
	var b [1]byte
	memory.ReadAt(b[:], at)
	b[0] ^= 1 << r.draw.IntN(8)
	memory.WriteAt(b[:], at)
}

func ringPayload(r *chaosRun, memory *os.File, _, _, entry, payload int64) {
	flipAt(r, memory, entry+ringPreamble+r.draw.Int64N(payload))
}

func ringHeader(r *chaosRun, memory *os.File, _, _, entry, _ int64) {
	flipAt(r, memory, entry+ringPreamble/2+r.draw.Int64N(frameHeader))
}

func ringDrop(_ *chaosRun, memory *os.File, ring, tail, _, payload int64) {
	memory.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(tail+ringPreamble+(payload+63)/64*64)), ring+ringTail)
}

// envNATS makes this test binary a NATS server at the address that it holds.
const envNATS = "GALVANI_TEST_NATS"

// startNATS runs a NATS server as a process of its own.
func startNATS(t *testing.T, address string, prefix ...string) *exec.Cmd {
	t.Helper()
	args := append(prefix, os.Args[0])
	server := exec.Command(args[0], args[1:]...)
	server.Env = append(os.Environ(), envNATS+"="+address)
	if _, err := server.StdinPipe(); err != nil { // it ends when this process does
		t.Error(err)
	}
	if err := server.Start(); err != nil {
		t.Error(err)
	}
	return server
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// faultOf draws a fault that can be under a plane, and a phase for it that a plan has.
func faultOf(draw *rand.Rand, plane, plan string) (fault, string) {
	for {
		f := chaosFaults[draw.IntN(len(chaosFaults))]
		if len(f.planes) > 0 && !slices.Contains(f.planes, plane) {
			continue
		}
		phases := phasesOf(plane, plan)
		if len(f.phases) > 0 {
			phases = slices.DeleteFunc(phases, func(p string) bool { return !slices.Contains(f.phases, p) })
		}
		return f, phases[draw.IntN(len(phases))]
	}
}

// phasesOf are the phases whose messages pass through the proxy.
func phasesOf(plane, plan string) []string {
	phases := []string{inSnapshot, inCheckpoint, ""}
	if plane == "shm" {
		return phases
	}
	phases = append(phases, inVote, inUpdate)
	switch {
	case strings.HasPrefix(plan, "pp"):
		phases = append(phases, inForward, inBackward)
	case strings.Contains(plan, "zero=3"):
		phases = append(phases, inForward, inBackward)
	default:
		phases = append(phases, inReduction)
	}
	return phases
}
