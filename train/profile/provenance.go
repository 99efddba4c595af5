package profile

import (
	"fmt"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/parallel/cluster"
)

// attest says where the figures come from.
func attest(c *cluster.Cluster, k key, version string, start time.Time) {
	c.Provenance = cluster.Provenance{
		Measured: start.UTC().Format(time.RFC3339),
		On:       fmt.Sprintf("%s, %s, %s kernels, %s", k.Processor, k.System, k.ISA, plural(k.Threads, "thread")),
		Version:  version,
	}
	server := "an embedded NATS server"
	if k.Server != "" {
		server = fmt.Sprint("a NATS server at ", comm.Endpoint{URL: k.Server}) // without secrets
	}
	if k.Network != "" {
		server += " within a network of " + k.Network
	}
	c.Note = fmt.Sprintf("%s of %s over %s, measured in %.1f s", plural(k.Workers, "worker process", "worker processes"),
		plural(k.Spec.Threads, "thread"), server, time.Since(start).Seconds())
	if spreads := spreadsOf(c); len(spreads) > 0 {
		c.Note += fmt.Sprintf(", exchanges with a spread of %.0f%% in the median", 100*quantile(spreads, 0.5))
	}
}

// spreadsOf are those of all exchanges, ascending.
func spreadsOf(c *cluster.Cluster) (all []float64) {
	for _, l := range c.Links {
		for _, m := range l.Measured {
			for _, p := range m.Points {
				all = append(all, p.Spread)
			}
		}
	}
	slices.Sort(all)
	return all
}

// plural counts things, of which many are called as given, or else by an s.
func plural(n int, one string, many ...string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, append(many, one+"s")[0])
}
