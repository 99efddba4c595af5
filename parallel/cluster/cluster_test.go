package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func preset(t testing.TB, name string) *Cluster {
	t.Helper()
	c, err := Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPresets(t *testing.T) {
	for _, name := range Presets() {
		c := preset(t, name)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.Name != name || !strings.HasSuffix(name, "-"+itoa(c.Devices())) || !strings.Contains(strings.ToLower(c.Note), "assumed") {
			t.Errorf("%s: %s, %d devices, note %q", name, c.Name, c.Devices(), c.Note)
		}
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := Preset("a100"); err == nil || !strings.Contains(err.Error(), `cluster="a100": choose one of titan-8, `) {
		t.Errorf("unknown preset: %v", err)
	}
}

func itoa(n int) string {
	data, _ := json.Marshal(n)
	return string(data)
}

// A preset that a caller changes is the caller's own.
func TestPresetOwned(t *testing.T) {
	c := preset(t, "a100-8")
	c.Device.Rates[0].PerSecond = 1
	c.Links[0].Measured[0].Points[0].Seconds = 1
	if d := preset(t, "a100-8"); d.Device.Rates[0].PerSecond == 1 || d.Links[0].Measured[0].Points[0].Seconds == 1 {
		t.Error("presets share figures")
	}
}

func TestWithDevices(t *testing.T) {
	for _, x := range []struct {
		name                  string
		n, hosts, each, links int
		problem               string
	}{
		{"a100-16", 16, 2, 8, 2, ""},
		{"a100-16", 32, 4, 8, 2, ""},
		{"a100-16", 8, 1, 8, 1, ""},
		{"a100-16", 4, 1, 4, 1, ""},
		{"a100-16", 1, 1, 1, 0, ""},
		{"h100-4096", 1024, 128, 8, 2, ""},
		{"a100-16", 12, 0, 0, 0, "devices=12: hosts of a100-16 have 8 devices: choose 8 or 16"},
		{"a100-16", 0, 0, 0, 0, "devices=0: choose 1 to"},
		{"a100-8", 16, 0, 0, 0, "devices=16: a100-8 is one host"},
		{"a100-8", 12, 0, 0, 0, "devices=12: a100-8 is one host"},
	} {
		c, err := preset(t, x.name).WithDevices(x.n)
		if x.problem != "" {
			if err == nil || !strings.Contains(err.Error(), x.problem) {
				t.Errorf("%s with %d: %v", x.name, x.n, err)
			}
			continue
		}
		if err != nil || c.Hosts != x.hosts || c.PerHost != x.each || len(c.Links) != x.links {
			t.Errorf("%s with %d: %v, %v, %d links", x.name, x.n, err, c, len(c.Links))
		}
	}
	c, err := machine().WithDevices(3)
	if err != nil || c.Hosts != 1 || c.PerHost != 3 || c.Links[0].Span != 3 {
		t.Errorf("3 workers: %v %v", c, err)
	}
}

// machine is a host of 2 cores, whose workers meet at a NATS server.
func machine() *Cluster {
	return &Cluster{
		Name: "here", Hosts: 1, PerHost: 4, Cores: 2, Overlap: 1.5,
		Device: Device{
			Name: "worker", Memory: 1 << 30, Bandwidth: 8e9, Launch: 2e-6,
			Rates: []Rate{
				{Kind: "linear", Precision: "fp32", FLOPs: 1e6, PerSecond: 1e10},
				{Kind: "linear", Precision: "fp32", FLOPs: 1e8, PerSecond: 1e11},
				{Kind: "linear", Precision: "bf16", PerSecond: 3e10},
				{Precision: "fp32", PerSecond: 2e9},
			},
		},
		Links: []Link{{Name: "nats", Span: 4, Latency: 1e-4, Bandwidth: 1e9, Shared: SharedAll, Measured: []Collective{
			{"all_reduce", Group{4, 1}, []Point{{1 << 10, 1e-3, 1e-5}, {1 << 20, 4e-3, 0}, {1 << 24, 64e-3, 1e-3}}},
		}}},
		Provenance: Provenance{"2026-11-24T15:00:00Z", "a processor", "galvani 0.5.0"},
	}
}

func TestValidate(t *testing.T) {
	for _, x := range []struct {
		change func(*Cluster)
		want   string
	}{
		{func(c *Cluster) { c.Hosts = 0 }, "hosts=0: choose 1 to 1048576"},
		{func(c *Cluster) { c.Hosts = 1 << 20 }, "hosts=1048576: with per_host=4 there are more than 1048576 devices"},
		{func(c *Cluster) { c.Overlap = 0 }, "overlap=0: choose 1 to 100"},
		{func(c *Cluster) { c.Device.Memory = -1 }, "device.memory=-1: choose 1 to"},
		{func(c *Cluster) { c.Device.Bandwidth = 0 }, "device.bandwidth=0: choose a number above 0"},
		{func(c *Cluster) { c.Device.Rates = nil }, "device.rates=(0 entries): list 1 to"},
		{func(c *Cluster) { c.Device.Rates[1].Precision = "fp8" }, `device.rates[1].precision="fp8": choose one of fp32, bf16`},
		{func(c *Cluster) { c.Links = nil }, "links=0: 4 devices need at least one link"},
		{func(c *Cluster) { c.Links[0].Span = 3 }, "links[0].span=3: choose a divisor or a multiple of per_host=4"},
		{func(c *Cluster) { c.Links[0].Span = 2 }, "links[0].span=2: the last link must join all 4 devices"},
		{func(c *Cluster) { c.Links = append(c.Links, c.Links[0]) }, "links[1].span=4: links go from the nearest on: choose a multiple of links[0].span=4"},
		{func(c *Cluster) { c.Links[0].Shared = "" }, `links[0].shared="": choose one of device, host, all`},
		{func(c *Cluster) { c.Links[0].Measured[0].Kind = "sum" }, `links[0].measured[0].kind="sum": choose one of all_reduce, `},
		{func(c *Cluster) { c.Links[0].Measured[0].Points[1].Bytes = 5 }, "links[0].measured[0].points[1].bytes=5: points must ascend: choose more than 1024"},
	} {
		c := machine()
		x.change(c)
		err := c.Validate()
		var value *ValueError
		if !errors.As(err, &value) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v, want %s", err, x.want)
		}
	}
	if err := machine().Validate(); err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	good, err := json.Marshal(machine())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ from, to, want string }{
		{"cluster/v1", "cluster/v9", `schema="galvani/cluster/v9": this version reads "galvani/cluster/v1"`},
		{`"hosts"`, `"guests"`, `unknown field "guests"`},
		{`"span"`, `"width"`, `unknown field "width"`},
		{`"hosts":1`, `"hosts":"one"`, "cannot unmarshal string"},
		{`"hosts":1`, `"hosts":2`, "the last link must join all 8 devices"},
	} {
		data := bytes.Replace(good, []byte(x.from), []byte(x.to), 1)
		if _, err := Parse(data); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %s", x.to, err, x.want)
		}
	}
	for _, text := range []string{"", "null", "[]", "{", "{}", string(good) + "{}"} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
	c := &Cluster{}
	if err := json.Unmarshal(good, c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(machine(), c); diff != "" {
		t.Error(diff)
	}
}
