package cluster

import (
	"fmt"
	"slices"
	"strings"
)

// Shares of published figures that presets take to be reached. They are assumed.
const (
	productShare = 0.6 // of peak FLOP/s, in any operation
	memoryShare  = 0.8 // of the memory's bandwidth
	networkShare = 0.9 // of a network's bandwidth
	nvlinkShare  = 0.8 // of H100's NVLink; A100's is measured
)

// Figures of presets that no source gives. They are assumed.
const (
	launch         = 5e-6  // s an operation
	networkLatency = 10e-6 // s a hop
	pcieLatency    = 10e-6 // s a hop
)

// nvlinkLatency is A100's: the shipped time of 1 MB through 8 devices is 79 us,
// of which 12 us are its bytes at 154 GB/s, and the rest 14 steps.
const nvlinkLatency = 5e-6

// galvatron is where presets' measured figures come from.
const galvatron = "Galvatron's published profiles (PKU-DAIR/Hetu-Galvatron)"

// titan is NVIDIA's TITAN RTX: 16.3 TFLOP/s fp32, 24 GB at 672 GB/s (data
// sheet). Its rate is what the fp32 layer of BERT-Huge-32 in Galvatron's VLDB code
// reaches, 21.5 GFLOP in 2.292 ms, which is 0.58 of the peak. It has no bf16.
var titan = Device{
	Name: "TITAN RTX", Memory: 24 << 30, Bandwidth: memoryShare * 672e9, Launch: launch,
	Rates: []Rate{{Precision: "fp32", PerSecond: 9.4e12}},
}

// a100 is NVIDIA's A100 SXM 80 GB: 312 TFLOP/s bf16 dense, 19.5 TFLOP/s fp32
// (TF32 is not used), 2039 GB/s (data sheet).
var a100 = Device{
	Name: "A100 80GB", Memory: 80 << 30, Bandwidth: memoryShare * 2039e9, Launch: launch,
	Rates: []Rate{
		{Precision: "fp32", PerSecond: productShare * 19.5e12},
		{Precision: "bf16", PerSecond: productShare * 312e12},
	},
}

// h100 is NVIDIA's H100 SXM 80 GB: 989 TFLOP/s bf16 dense, 67 TFLOP/s fp32 (TF32
// is not used), 3350 GB/s (data sheet).
var h100 = Device{
	Name: "H100 80GB", Memory: 80 << 30, Bandwidth: memoryShare * 3350e9, Launch: launch,
	Rates: []Rate{
		{Precision: "fp32", PerSecond: productShare * 67e12},
		{Precision: "bf16", PerSecond: productShare * 989e12},
	},
}

// Slowdowns under overlap: 1.3 is that of Galvatron's VLDB code, 1.1256 that of
// its shipped A100 profile.
const (
	titanOverlap = 1.3
	a100Overlap  = 1.1256
)

// pcie is what joins 8 TITAN RTX: the ms a MB that Galvatron's VLDB code has for
// all-reduces of 8, of 4 and of 2 neighbours or strangers. Gathers and scatters
// are half of an all-reduce; for the rest the bandwidth is that of 8.
func pcie() Link {
	l := Link{Name: "PCIe", Span: 8, Latency: pcieLatency, Bandwidth: 1e9 / 0.2153, Shared: SharedDevice}
	for _, m := range []struct {
		group Group
		ms    float64
	}{
		{Group{8, 1}, 0.2153}, {Group{4, 1}, 0.2265}, {Group{4, 2}, 0.2201}, {Group{2, 1}, 0.2780}, {Group{2, 4}, 0.2716},
	} {
		l.Measured = append(l.Measured, reductions(ofBandwidth("all_reduce", m.group, 1e9/m.ms, pcieLatency))...)
	}
	return l
}

// nvlinkTimes are microseconds of 1, 2, 4 and on to 1024 MB among neighbours,
// in Galvatron's shipped profile of 8 A100 (sp_time_1nodes_8gpus_per_node.json).
var nvlinkTimes = []struct {
	kind  string
	ranks int
	us    []float64
}{
	{"all_reduce", 8, []float64{78.95, 109.4, 133.3, 182.7, 294.1, 415.7, 651.9, 1282.6, 2358.4, 4676.8, 8140.9}},
	{"all_reduce", 4, []float64{79.81, 91.09, 109.1, 158.1, 218.3, 320.5, 584.8, 1072.5, 2070.9, 3735.2, 7187.4}},
	{"all_reduce", 2, []float64{70.3, 79.32, 90.08, 108.4, 143.4, 228.1, 392.4, 741.7, 1388.7, 2688.6, 5159.4}},
	{"all_to_all", 8, []float64{112.4, 113.5, 110.9, 150.2, 200.3, 243, 399.7, 713.5, 1298.1, 2482.2, 4815.1}},
	{"all_to_all", 4, []float64{52.44, 79.92, 106.5, 125.5, 151.4, 223.7, 365.4, 643.9, 1156.7, 2100.3, 4038.9}},
	{"all_to_all", 2, []float64{70.9, 99.42, 110.1, 104.7, 120.3, 178.8, 292.8, 475.6, 880.6, 1775.2, 3495.4}},
}

// nvlink is what joins 8 A100: times as shipped, for all-gathers and
// reduce-scatters half of an all-reduce, as Galvatron's cost model takes it; for
// messages the shipped bandwidths of pipelines of 2, 4 and 8 stages; for rotations
// the bandwidth of an all-reduce of 8.
func nvlink() Link {
	l := Link{Name: "NVLink", Span: 8, Latency: nvlinkLatency, Bandwidth: 154.203e9, Shared: SharedDevice}
	for _, t := range nvlinkTimes {
		m := Collective{Kind: t.kind, Group: Group{t.ranks, 1}}
		for i, us := range t.us {
			m.Points = append(m.Points, Point{Bytes: 1 << (20 + i), Seconds: us * 1e-6})
		}
		l.Measured = append(l.Measured, reductions(m)...)
	}
	l.Measured = append(l.Measured,
		ofBandwidth("send", Group{2, 4}, 163.671e9, nvlinkLatency),
		ofBandwidth("send", Group{2, 2}, 138.581e9, nvlinkLatency),
		ofBandwidth("send", Group{2, 1}, 109.45e9, nvlinkLatency),
	)
	return l
}

// twoHosts is what joins 2 hosts of 8 A100 in Galvatron's shipped profile of 16
// (allreduce_bandwidth_2nodes_8gpus_per_node.json and p2p_...): a host sends 8
// times what each of 8 pairs across has. Gathers and scatters are half of an
// all-reduce.
func twoHosts() Link {
	l := Link{Name: "network", Span: 16, Latency: networkLatency, Bandwidth: 8 * 8.13007e9, Shared: SharedHost}
	for _, m := range []struct {
		group Group
		rate  float64
	}{
		{Group{16, 1}, 44.682e9}, {Group{8, 2}, 20.7724e9}, {Group{4, 4}, 16.22e9}, {Group{2, 8}, 8.13007e9},
	} {
		l.Measured = append(l.Measured, reductions(ofBandwidth("all_reduce", m.group, m.rate, networkLatency))...)
	}
	l.Measured = append(l.Measured,
		ofBandwidth("send", Group{2, 8}, 7.65998e9, networkLatency),
		ofBandwidth("send", Group{2, 4}, 8.02132e9, networkLatency),
		ofBandwidth("send", Group{2, 2}, 8.76278e9, networkLatency),
		ofBandwidth("send", Group{2, 1}, 8.13177e9, networkLatency),
	)
	return l
}

// ofBandwidth is the table that a bus bandwidth (bytes that a device moves, over
// the time) and a latency a step make.
func ofBandwidth(kind string, g Group, rate, latency float64) Collective {
	m := Collective{Kind: kind, Group: g}
	n := float64(g.Ranks)
	share := 1.0
	if kind == "all_reduce" {
		share = 2 * (n - 1) / n
	}
	for bytes := int64(1 << 10); bytes <= 1<<30; bytes *= 2 {
		e := Exchange{Kind: kind, Bytes: bytes, Group: g}
		m.Points = append(m.Points, Point{Bytes: bytes, Seconds: float64(steps(e))*latency + share*float64(bytes)/rate})
	}
	return m
}

// reductions is a table, and where it is of all-reduces those of the gather and
// the scatter that are its halves.
func reductions(m Collective) []Collective {
	if m.Kind != "all_reduce" {
		return []Collective{m}
	}
	gather := Collective{Kind: "all_gather", Group: m.Group, Points: slices.Clone(m.Points)}
	for i := range gather.Points {
		gather.Points[i].Seconds /= 2
	}
	scatter := Collective{Kind: "reduce_scatter", Group: m.Group, Points: slices.Clone(gather.Points)}
	return []Collective{m, gather, scatter}
}

// h100NVLink has 450 GB/s each way (data sheet: 900 GB/s both ways).
var h100NVLink = Link{Name: "NVLink", Span: 8, Latency: nvlinkLatency, Bandwidth: nvlinkShare * 450e9, Shared: SharedDevice}

// network joins hosts of 8 with gbits Gb/s for each device, or for each host.
func network(devices int, gbits float64, shared Sharing) Link {
	return Link{Name: "network", Span: devices, Latency: networkLatency, Bandwidth: networkShare * gbits * 1e9 / 8, Shared: shared}
}

const (
	ratesNote = "The rate of operations is assumed to be 0.6 of the published peak; the memory's bandwidth 0.8 of the published one; 5 us a launch are assumed."
	a100Note  = "Times within a host and overlap: " + galvatron + ", A100, taken to be SXM 80 GB; gathers and scatters are half of an all-reduce, and 5 us a hop are derived. " + ratesNote
	h100Note  = "Published figures of H100 SXM: no time is measured. Assumed: 0.8 of NVLink's bandwidth, 0.9 of the network's, 10 us a hop between hosts; overlap and 5 us a hop within a host as of A100. " + ratesNote
)

// presets are the clusters that are written down, smallest first.
var presets = []struct {
	name string
	make func() *Cluster
}{
	{"titan-8", func() *Cluster {
		return &Cluster{
			Hosts: 1, Device: titan, Links: []Link{pcie()}, Overlap: titanOverlap,
			Note: "Bandwidths of all-reduces, rate of operations and overlap: constants of Galvatron's VLDB code for 8 TITAN-class devices, fp32. Assumed: 10 us a hop, 5 us a launch, 0.8 of the published bandwidth of the memory, gathers and scatters half of an all-reduce, other exchanges at its bandwidth. The device has no bf16.",
		}
	}},
	{"a100-8", func() *Cluster {
		return &Cluster{Hosts: 1, Device: a100, Links: []Link{nvlink()}, Overlap: a100Overlap, Note: a100Note}
	}},
	{"a100-16", func() *Cluster {
		return &Cluster{
			Hosts: 2, Device: a100, Links: []Link{nvlink(), twoHosts()}, Overlap: a100Overlap,
			Note: a100Note + " Bandwidths between the hosts: the same profiles; 10 us a hop between hosts are assumed.",
		}
	}},
	{"a100-64", func() *Cluster {
		return &Cluster{
			Hosts: 8, Device: a100, Links: []Link{nvlink(), network(64, 100, SharedHost)}, Overlap: a100Overlap,
			Note: a100Note + " Between hosts 100 Gb/s a host: 0.9 of it and 10 us a hop are assumed.",
		}
	}},
	{"a100-1024", func() *Cluster {
		return &Cluster{
			Hosts: 128, Device: a100, Links: []Link{nvlink(), network(1024, 200, SharedDevice)}, Overlap: a100Overlap,
			Note: a100Note + " Between hosts 200 Gb/s a device (DGX A100 SuperPOD): 0.9 of it and 10 us a hop are assumed, and that the network is never the narrower for its size.",
		}
	}},
	{"h100-8", func() *Cluster {
		return &Cluster{Hosts: 1, Device: h100, Links: []Link{h100NVLink}, Overlap: a100Overlap, Note: h100Note}
	}},
	{"h100-64", func() *Cluster {
		return &Cluster{
			Hosts: 8, Device: h100, Links: []Link{h100NVLink, network(64, 400, SharedDevice)}, Overlap: a100Overlap,
			Note: h100Note + " Between hosts 400 Gb/s a device (DGX H100).",
		}
	}},
	{"h100-4096", func() *Cluster {
		return &Cluster{
			Hosts: 512, Device: h100, Links: []Link{h100NVLink, network(4096, 400, SharedDevice)}, Overlap: a100Overlap,
			Note: h100Note + " Between hosts 400 Gb/s a device (DGX H100 SuperPOD), and it is assumed that the network is never the narrower for its size.",
		}
	}},
}

// Presets lists the names of the clusters that are written down.
func Presets() []string {
	names := make([]string, len(presets))
	for i, p := range presets {
		names[i] = p.name
	}
	return names
}

// Preset returns a cluster that is written down; its Note tells where its
// figures are from, and which are assumed.
func Preset(name string) (*Cluster, error) {
	for _, p := range presets {
		if p.name == name {
			c := p.make()
			c.Name, c.PerHost = name, 8
			c.Device.Rates = slices.Clone(c.Device.Rates)
			return c, nil
		}
	}
	return nil, &ValueError{"cluster", fmt.Sprintf("%q", name), "choose one of " + strings.Join(Presets(), ", ")}
}
