package bench

import (
	"bytes"
	_ "embed" // for the template
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"unicode/utf8"
)

// chart is a picture of horizontal bars in groups.
type chart struct {
	Title, Machine, Unit string
	Groups               []barGroup
}

// barGroup are bars of one scale.
type barGroup struct {
	Name string
	Bars []bar
}

// bar is one figure.
type bar struct {
	Label string
	Value float64 // of the group's full length, 0 to 1
	Text  string  // the figure as it is to be read
	Ours  bool
}

// trainChart has a group for each workload: tokens a second of each side, and
// how many times theirs ours is.
func trainChart(results []Result, machine string) chart {
	c := chart{Title: "Training steps", Machine: machine, Unit: "tokens/s; higher is better"}
	for _, r := range results {
		most := r.TokensPerSecond
		for _, s := range r.Theirs {
			most = max(most, s.TokensPerSecond)
		}
		name := r.Name
		if r.Workload != "" {
			name = r.Workload + ": " + name
		}
		g := barGroup{Name: name}
		g.Bars = append(g.Bars, bar{ours, r.TokensPerSecond / most, fmt.Sprintf("%.0f", r.TokensPerSecond), true})
		for _, peer := range slices.Sorted(maps.Keys(r.Theirs)) {
			rate := r.Theirs[peer].TokensPerSecond
			g.Bars = append(g.Bars, bar{peer, rate / most, fmt.Sprintf("%.0f (%s %.2f times as fast)", rate, ours, r.Peers[peer]), false})
		}
		c.Groups = append(c.Groups, g)
	}
	return c
}

// cpuChart has a group for each kind of kernel: the share of the limit, and the
// figure itself.
func cpuChart(results []Result, machine string) chart {
	c := chart{Title: "Kernels", Machine: machine, Unit: "share of the limit measured in the same run; higher is better"}
	for _, r := range results {
		if r.OfPeak == 0 || isLimit(r.Name) {
			continue
		}
		kind := kindOf(r.Name)
		i := slices.IndexFunc(c.Groups, func(g barGroup) bool { return g.Name == kind })
		if i < 0 {
			i = len(c.Groups)
			c.Groups = append(c.Groups, barGroup{Name: kind})
		}
		text := fmt.Sprintf("%.0f%%, %.1f %s", 100*r.OfPeak, r.Value, r.Unit)
		for _, peer := range slices.Sorted(maps.Keys(r.Peers)) {
			text += fmt.Sprintf(" (%.2f times %s)", r.Peers[peer], peer)
		}
		label := strings.TrimPrefix(r.Name[len(kind):], "-")
		c.Groups[i].Bars = append(c.Groups[i].Bars, bar{label, min(r.OfPeak, 1), text, true})
	}
	return c
}

// isLimit says whether a figure is a limit, not a kernel.
func isLimit(name string) bool {
	return strings.HasPrefix(name, "fma-") || strings.HasPrefix(name, "memory-")
}

// kindOf is the name of a kernel up to its sizes: gemm-fp32-NN-256x768x768-2t is
// a gemm-fp32.
func kindOf(name string) string {
	for _, precision := range []string{"-fp32", "-bf16"} {
		if before, _, ok := strings.Cut(name, precision); ok {
			return before + precision
		}
	}
	return name
}

//go:embed chart.svg.tmpl
var chartText string

// Sizes in the picture's units, which are pixels where it is not scaled.
const (
	chartWidth = 900
	chartEdge  = 20
	headHeight = 74
	groupHead  = 30
	barHeight  = 18
	barPitch   = 24
	letter     = 7 // of the labels' font, about
)

// Where a picture's parts are.
type (
	drawing struct {
		chart
		Width, Height, Edge, BarHeight int
		Groups                         []drawnGroup
	}
	drawnGroup struct {
		Name string
		Y    int
		Bars []drawnBar
	}
	drawnBar struct {
		bar
		X, Y, Width, TextX, TextY int
	}
)

// draw places the parts: labels to the left, bars to the right of the longest,
// each followed by its text.
func (c chart) draw() drawing {
	label, text := 0, 0
	for _, g := range c.Groups {
		for _, b := range g.Bars {
			label, text = max(label, utf8.RuneCountInString(b.Label)), max(text, utf8.RuneCountInString(b.Text))
		}
	}
	left := 2*chartEdge + letter*label
	full := max(chartWidth-left-letter*text-2*chartEdge, chartWidth/5)
	d := drawing{chart: c, Edge: chartEdge, BarHeight: barHeight, Width: max(chartWidth, left+full+letter*text+2*chartEdge)}
	y := headHeight
	for _, g := range c.Groups {
		y += groupHead
		drawn := drawnGroup{Name: g.Name, Y: y - 10}
		for _, b := range g.Bars {
			width := max(int(float64(full)*b.Value+0.5), 1)
			drawn.Bars = append(drawn.Bars, drawnBar{b, left, y, width, left + width + 6, y + 13})
			y += barPitch
		}
		d.Groups = append(d.Groups, drawn)
	}
	d.Height = y + chartEdge
	return d
}

// svg is the picture.
func (c chart) svg() ([]byte, error) {
	t, err := template.New("chart").Funcs(template.FuncMap{"xml": escapeXML}).Parse(chartText)
	if err != nil {
		return nil, fmt.Errorf("bench: the chart's template: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, c.draw()); err != nil {
		return nil, fmt.Errorf("bench: drawing the chart: %w", err)
	}
	return b.Bytes(), nil
}

func escapeXML(text string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(text))
	return b.String(), err
}

// checkChart says before hours of measuring that a chart cannot be written.
func checkChart(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(filepath.Dir(path))
	switch {
	case err != nil:
		return fmt.Errorf("bench: writing the chart: %w", err)
	case !info.IsDir():
		return fmt.Errorf("bench: writing the chart: %s is no directory", filepath.Dir(path))
	}
	return nil
}

// writeChart writes the picture to a file, if one is named.
func writeChart(path string, c chart) error {
	if path == "" {
		return nil
	}
	text, err := c.svg()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o666); err != nil {
		return fmt.Errorf("bench: writing the chart: %w", err)
	}
	return nil
}
