package planner

import (
	_ "embed" // for the template
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"text/template"
)

//go:embed stages.svg.tmpl
var stagesTemplate string

var stagesPicture = template.Must(template.New("stages").Funcs(template.FuncMap{"xml": escape}).Parse(stagesTemplate))

func escape(s string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

// Sizes of the picture.
const (
	pictureWidth = 960
	barsAt       = 220
	barsWidth    = 520
	barHeight    = 16
	rowHeight    = 22
	pictureHead  = 92
)

// picture is what the template draws.
type picture struct {
	Width, Height int
	Title, Note   string
	Legend        []rectangle
	Rows          []row
}

// row is a stage's time or memory.
type row struct {
	rectangle
	Label string
	EndX  int
	TextY int
	Bars  []rectangle
}

// rectangle is a bar, or a sample of one.
type rectangle struct {
	Class               string
	X, Y, Width, Height int
	TextX               int
	Text                string
}

// part is a piece of a bar.
type part struct {
	class, what string
	value       float64
	text        string
}

// WriteSVG draws the stages: the time of a micro-batch beside that of the slowest
// stage, and memory beside the budget.
func (e *Evaluation) WriteSVG(w io.Writer) error {
	p := &picture{Width: pictureWidth, Title: "Stages of a plan"}
	p.Note = fmt.Sprintf("%s; predicted %s a step of %d sequences", e.Plan, seconds(e.Step), e.Batch)
	for i, x := range []part{
		{"compute", "compute, states", 0, ""}, {"recompute", "recompute", 0, ""}, {"exchange", "exchanges, activations", 0, ""}, {"once", "once a step, peak", 0, ""},
	} {
		at := 24 + 210*i
		p.Legend = append(p.Legend, rectangle{Class: x.class, X: at, TextX: at + 16, Text: x.what})
	}
	var slowest float64
	for _, s := range e.Stages {
		slowest = max(slowest, s.Time+s.Sync)
	}
	for i, s := range e.Stages {
		p.add(fmt.Sprintf("stage %d  layers %s", i, span(s.Layers[0], s.Layers[1])), e.timeParts(i), slowest, seconds(s.Time+s.Sync))
		p.add("         memory", e.memoryParts(i), float64(max(s.Budget, s.Memory)), bytes(s.Memory)+" of "+bytes(s.Budget))
	}
	p.Height = pictureHead + rowHeight*len(p.Rows) + 16
	return stagesPicture.Execute(w, p)
}

// add adds a row of parts of a whole.
func (p *picture) add(label string, parts []part, whole float64, text string) {
	y := pictureHead + rowHeight*len(p.Rows)
	r := row{rectangle: rectangle{X: barsAt, Y: y, Width: barsWidth, Height: barHeight, Text: text}, Label: label, EndX: barsAt + barsWidth + 8, TextY: y + 12}
	sum := 0.0
	for _, x := range parts {
		from := int(barsWidth * min(1, sum/whole))
		sum += x.value
		to := int(barsWidth * min(1, sum/whole))
		if to > from {
			r.Bars = append(r.Bars, rectangle{Class: x.class, X: barsAt + from, Y: y, Width: to - from, Height: barHeight, Text: x.what + " " + x.text})
		}
	}
	p.Rows = append(p.Rows, r)
}

// timeParts splits the time of a stage's micro-batch.
func (e *Evaluation) timeParts(stage int) []part {
	var compute, again float64
	for _, l := range e.Layers {
		if l.Stage == stage {
			compute, again = compute+l.Price.Forward+l.Price.Backward, again+l.Price.Again
		}
	}
	s := e.Stages[stage]
	parts := []part{{"compute", "compute", compute, ""}, {"recompute", "recompute", again, ""}, {"exchange", "exchanges", max(0, s.Time-compute-again), ""}, {"once", "once a step", s.Sync, ""}}
	for i := range parts {
		parts[i].text = seconds(parts[i].value)
	}
	return parts
}

// memoryParts splits the memory of a stage's rank.
func (e *Evaluation) memoryParts(stage int) []part {
	s := e.Stages[stage]
	var states, activations float64
	for _, l := range e.Layers {
		if l.Stage == stage {
			states += float64(l.Memory.States)
			activations += float64(s.InFlight) * float64(l.Memory.Activation)
		}
	}
	parts := []part{{"states", "states", states, ""}, {"activations", "activations", activations, ""}, {"peak", "peak", max(0, float64(s.Memory)-states-activations), ""}}
	for i := range parts {
		parts[i].text = bytes(int64(parts[i].value))
	}
	return parts
}
