package simulate

import (
	"bufio"
	"cmp"
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
	out.line = append(out.line, `{"displayTimeUnit":"ms","traceEvents":[`...)
	for i := range t.Stages {
		out.metadata("process_name", i, 0, `{"name":"stage `+strconv.Itoa(i)+`"}`)
		out.metadata("process_sort_index", i, 0, `{"sort_index":`+strconv.Itoa(i)+`}`)
		out.metadata("thread_name", i, threadCompute, `{"name":"compute"}`)
		out.metadata("thread_name", i, threadExchange, `{"name":"exchange"}`)
	}
	for i := range t.Events {
		if e := &t.Events[i]; e.Kind == Compute || e.Kind == Exchanging {
			out.event(e)
		}
	}
	for _, h := range t.Memory {
		out.begin("memory", "C", h.Stage, 0)
		out.number("ts", nanoseconds(h.Time)/1e3)
		out.args(`{"bytes":` + strconv.FormatInt(h.Bytes, 10) + `}`)
	}
	out.line = append(out.line, "\n]}\n"...)
	out.write()
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

// tracer writes trace events, a line each. After an error it does nothing.
type tracer struct {
	w     *bufio.Writer
	line  []byte
	begun bool
	err   error
}

// write writes the line.
func (t *tracer) write() {
	if t.err == nil {
		_, t.err = t.w.Write(t.line)
	}
	t.line = t.line[:0]
}

// begin begins an event.
func (t *tracer) begin(name, phase string, process, thread int) {
	if t.begun {
		t.line = append(t.line, ',')
	}
	t.begun = true
	quoted, err := json.Marshal(name)
	t.err = cmp.Or(t.err, err)
	t.line = append(t.line, "\n{\"name\":"...)
	t.line = append(t.line, quoted...)
	t.line = append(append(append(t.line, `,"ph":"`...), phase...), '"')
	t.number("pid", float64(process))
	t.number("tid", float64(thread))
}

// number gives the event a number.
func (t *tracer) number(key string, x float64) {
	t.line = append(append(append(t.line, `,"`...), key...), `":`...)
	t.line = strconv.AppendFloat(t.line, x, 'f', -1, 64)
}

// args ends the event with its arguments.
func (t *tracer) args(object string) {
	t.line = append(append(append(t.line, `,"args":`...), object...), '}')
	t.write()
}

// metadata names a process or thread.
func (t *tracer) metadata(name string, process, thread int, args string) {
	t.begin(name, "M", process, thread)
	t.args(args)
}

// event writes a computation or an exchange.
func (t *tracer) event(e *Event) {
	name, thread := cmp.Or(e.Name, e.Kind.String()), threadCompute
	if e.Kind == Exchanging {
		thread = threadExchange
	}
	t.begin(name, "X", e.Stage, thread)
	start := nanoseconds(e.Start)
	t.number("ts", start/1e3)
	t.number("dur", (nanoseconds(e.End)-start)/1e3)
	t.line = append(append(append(t.line, `,"cat":"`...), e.Pass.String()...), '"')
	args := `{"layer":` + strconv.Itoa(e.Layer)
	if e.Pass != Update {
		args += `,"micro":` + strconv.Itoa(e.Micro)
	}
	t.args(args + "}")
}

// nanoseconds rounds a time, so that events that meet do so in the trace.
func nanoseconds(seconds float64) float64 { return math.Round(seconds * 1e9) }
