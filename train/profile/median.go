package profile

import (
	"slices"

	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/cost"
)

// MedianLayers has the median of every time of several measurements of the same
// layers: a machine's speed drifts.
func MedianLayers(all []*Layers) *Layers {
	m := *all[0]
	m.Update = medianOf(all, func(l *Layers) float64 { return l.Update })
	m.Shapes = nil
	for s, shape := range all[0].Shapes {
		x := LayerShapes{Strategy: shape.Strategy}
		for p, point := range shape.Points {
			at := func(of func(*LayerPoint) *cost.Seconds) cost.Seconds {
				return cost.Seconds{
					Forward:  medianOf(all, func(l *Layers) float64 { return of(&l.Shapes[s].Points[p]).Forward }),
					Backward: medianOf(all, func(l *Layers) float64 { return of(&l.Shapes[s].Points[p]).Backward }),
				}
			}
			x.Points = append(x.Points, LayerPoint{
				Rows:      point.Rows,
				Embedding: at(func(p *LayerPoint) *cost.Seconds { return &p.Embedding }),
				Block:     at(func(p *LayerPoint) *cost.Seconds { return &p.Block }),
				Head:      at(func(p *LayerPoint) *cost.Seconds { return &p.Head }),
			})
		}
		m.Shapes = append(m.Shapes, x)
	}
	return &m
}

// MedianCluster is the first of several measurements of the same machine, with the
// medians of what is measured of exchanges, of overlap and of a step's end.
func MedianCluster(all []*cluster.Cluster) *cluster.Cluster {
	m := *all[0]
	m.Overlap = medianOf(all, func(c *cluster.Cluster) float64 { return c.Overlap })
	m.Links = nil
	for i, l := range all[0].Links {
		l.Latency = medianOf(all, func(c *cluster.Cluster) float64 { return c.Links[i].Latency })
		l.Bandwidth = medianOf(all, func(c *cluster.Cluster) float64 { return c.Links[i].Bandwidth })
		l.Measured = slices.Clone(l.Measured)
		for k := range l.Measured {
			x := &l.Measured[k]
			x.Points = slices.Clone(x.Points)
			for _, c := range all { // where calls took too long, larger ones were left out
				x.Points = x.Points[:min(len(x.Points), len(c.Links[i].Measured[k].Points))]
			}
			for n := range x.Points {
				x.Points[n].Seconds = medianOf(all, func(c *cluster.Cluster) float64 { return c.Links[i].Measured[k].Points[n].Seconds })
			}
		}
		m.Links = append(m.Links, l)
	}
	return &m
}

// medianOf is the median of a figure.
func medianOf[T any](all []T, figure func(T) float64) float64 {
	var figures []float64
	for _, x := range all {
		figures = append(figures, figure(x))
	}
	slices.Sort(figures)
	return quantile(figures, 0.5)
}
