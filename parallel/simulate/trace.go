package simulate

import (
	"bufio"
	"encoding/json"
	"io"
	"math"
	"strconv"
)

// Threads of a stage in a trace.
const (
	threadCompute  = 1
	threadExchange = 2
)

// WriteTrace writes the timeline in the Trace Event Format of Chrome, which
// Perfetto (ui.perfetto.dev) reads too: a process a stage, with a thread for its
// computation, one for its exchanges, and a counter of its memory. Times are in
// microseconds, to a nanosecond; waiting is left empty.
func (t *Timeline) WriteTrace(w io.Writer) error {
	out := tracer{w: bufio.NewWriter(w)}
	out.w.WriteString(`{"displayTimeUnit":"ms","traceEvents":[`)
	for i := range t.Stages {
		out.metadata("process_name", i, 0, `"name":"stage `+strconv.Itoa(i)+`"`)
		out.metadata("process_sort_index", i, 0, `"sort_index":`+strconv.Itoa(i))
		out.metadata("thread_name", i, threadCompute, `"name":"compute"`)
		out.metadata("thread_name", i, threadExchange, `"name":"exchange"`)
	}
	for i := range t.Events {
		if e := &t.Events[i]; e.Kind == Compute || e.Kind == Exchanging {
			out.event(e)
		}
	}
	for _, h := range t.Memory {
		out.begin("memory", "C", h.Stage, 0)
		out.number(`,"ts":`, nanoseconds(h.Time))
		out.w.WriteString(`,"args":{"bytes":` + strconv.FormatInt(h.Bytes, 10) + `}}`)
	}
	out.w.WriteString("\n]}\n")
	return out.w.Flush()
}

// tracer writes trace events. Its errors are those of the last flush.
type tracer struct {
	w     *bufio.Writer
	begun bool
}

// begin begins an event.
func (t *tracer) begin(name, phase string, process, thread int) {
	if t.begun {
		t.w.WriteByte(',')
	}
	t.begun = true
	quoted, _ := json.Marshal(name) // strings always can
	t.w.WriteString("\n{\"name\":")
	t.w.Write(quoted)
	t.w.WriteString(`,"ph":"` + phase + `","pid":` + strconv.Itoa(process) + `,"tid":` + strconv.Itoa(thread))
}

// metadata names a process or thread.
func (t *tracer) metadata(name string, process, thread int, args string) {
	t.begin(name, "M", process, thread)
	t.w.WriteString(`,"args":{` + args + `}}`)
}

// event writes a computation or an exchange.
func (t *tracer) event(e *Event) {
	name, thread := e.Name, threadCompute
	if name == "" {
		name = e.Kind.String()
	}
	if e.Kind == Exchanging {
		thread = threadExchange
	}
	t.begin(name, "X", e.Stage, thread)
	start := nanoseconds(e.Start)
	t.number(`,"ts":`, start)
	t.number(`,"dur":`, nanoseconds(e.End)-start)
	t.w.WriteString(`,"cat":"` + e.Pass.String() + `","args":{"layer":` + strconv.Itoa(e.Layer))
	if e.Pass != Update {
		t.w.WriteString(`,"micro":` + strconv.Itoa(e.Micro))
	}
	t.w.WriteString("}}")
}

// number writes nanoseconds as microseconds.
func (t *tracer) number(key string, ns float64) {
	t.w.WriteString(key)
	t.w.WriteString(strconv.FormatFloat(ns/1e3, 'f', -1, 64))
}

// nanoseconds rounds a time, so that events that meet do so in the trace.
func nanoseconds(seconds float64) float64 { return math.Round(seconds * 1e9) }
