package profile

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Write prints the times for people.
func (l *Layers) Write(w io.Writer) {
	fmt.Fprintf(w, "machine    %s\n\n", l.On)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "split\tsequences\tembedding\tbackward\tblock\tbackward\thead\tbackward\t")
	for _, s := range l.Shapes {
		for _, p := range s.Points {
			fmt.Fprintf(t, "%v\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Strategy, p.Rows, seconds(p.Embedding.Forward), seconds(p.Embedding.Backward),
				seconds(p.Block.Forward), seconds(p.Block.Backward), seconds(p.Head.Forward), seconds(p.Head.Backward))
		}
	}
	_ = t.Flush() // fails where w does
	fmt.Fprintf(w, "\nupdate     %.3g ns a parameter\n", 1e9*l.Update)
}
