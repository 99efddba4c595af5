package profile

import (
	"slices"

	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/cost"
)

// FastestLayers has the least of every time of several measurements of the same
// layers: what else a machine does slows it down, and never speeds it up.
func FastestLayers(all []*Layers) *Layers {
	m := *all[0]
	m.Update = leastOf(all, func(l *Layers) float64 { return l.Update })
	m.Shapes = nil
	for s, shape := range all[0].Shapes {
		x := LayerShapes{Strategy: shape.Strategy}
		for p, point := range shape.Points {
			at := func(of func(*LayerPoint) *cost.Seconds) cost.Seconds {
				return cost.Seconds{
					Forward:  leastOf(all, func(l *Layers) float64 { return of(&l.Shapes[s].Points[p]).Forward }),
					Backward: leastOf(all, func(l *Layers) float64 { return of(&l.Shapes[s].Points[p]).Backward }),
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

// FastestCluster is the first of several measurements of the same machine, with
// the least time of every exchange, and the median of the slow-down by overlap.
func FastestCluster(all []*cluster.Cluster) *cluster.Cluster {
	m := *all[0]
	m.Overlap = medianOf(all, func(c *cluster.Cluster) float64 { return c.Overlap })
	m.Links = nil
	for i, l := range all[0].Links {
		l.Latency = leastOf(all, func(c *cluster.Cluster) float64 { return c.Links[i].Latency })
		l.Bandwidth = medianOf(all, func(c *cluster.Cluster) float64 { return c.Links[i].Bandwidth })
		l.Measured = slices.Clone(l.Measured)
		for k := range l.Measured {
			x := &l.Measured[k]
			x.Points = slices.Clone(x.Points)
			for _, c := range all { // where calls took too long, larger ones were left out
				x.Points = x.Points[:min(len(x.Points), len(c.Links[i].Measured[k].Points))]
			}
			for n := range x.Points {
				x.Points[n].Seconds = leastOf(all, func(c *cluster.Cluster) float64 { return c.Links[i].Measured[k].Points[n].Seconds })
			}
		}
		m.Links = append(m.Links, l)
	}
	return &m
}

// leastOf is the least of a figure.
func leastOf[T any](all []T, figure func(T) float64) float64 {
	least := figure(all[0])
	for _, x := range all[1:] {
		least = min(least, figure(x))
	}
	return least
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
