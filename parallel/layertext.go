package parallel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// setLayers reads the strategies of all layers: ranges of their numbers in
// order, each with the keys of its strategy, as "0-1:dp=4;2-5:dp=2,tp=2".
func setLayers(p *Plan, v string) error {
	for part := range strings.SplitSeq(v, ";") {
		where, what, _ := strings.Cut(part, ":")
		first, last, err := layerRange(where)
		if err != nil || first != len(p.Layers) || last < first {
			return &ValueError{"layers", v, fmt.Sprintf("%q must be a range that begins at layer %d, as %d-%d:dp=2", part, len(p.Layers), len(p.Layers), len(p.Layers)+3)}
		}
		s := Strategy{DP: 1, TP: 1}
		words := strings.Split(what, ",")
		if what == "" {
			words = nil
		}
		if err := setAll(&s, strategyKeys, joinOrder(words)); err != nil {
			return err
		}
		p.Layers = append(p.Layers, slices.Repeat([]Strategy{s}, last-first+1)...)
	}
	return nil
}

// joinOrder puts together what belongs to order=dp,tp: words without "=".
func joinOrder(words []string) []string {
	var joined []string
	for _, w := range words {
		if n := len(joined); n > 0 && !strings.Contains(w, "=") {
			joined[n-1] += "," + w
		} else {
			joined = append(joined, w)
		}
	}
	return joined
}

// layerRange reads "3" or "3-5".
func layerRange(text string) (first, last int, err error) {
	from, to, ranged := strings.Cut(text, "-")
	if first, err = number("layers", from, 0); err != nil || !ranged {
		return first, first, err
	}
	last, err = number("layers", to, 0)
	return first, last, err
}

// getLayers is the inverse of setLayers.
func getLayers(p *Plan) string {
	var parts []string
	for from := 0; from < len(p.Layers); {
		to := from
		for to+1 < len(p.Layers) && p.Layers[to+1].normal() == p.Layers[from].normal() {
			to++
		}
		where := strconv.Itoa(from)
		if to > from {
			where += "-" + strconv.Itoa(to)
		}
		parts = append(parts, where+":"+strings.Join(p.Layers[from].words(), ","))
		from = to + 1
	}
	return strings.Join(parts, ";")
}
