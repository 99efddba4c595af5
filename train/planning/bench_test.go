package planning_test

import (
	"testing"

	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/search"
	"github.com/galvani-ml/galvani/train/planning"
	"github.com/galvani-ml/galvani/train/program"
)

// BenchmarkSearch does all that galvani plan search does for GPT-3 175B on many
// devices: layers are compiled under every strategy, plans searched, and the best
// compiled and explained.
func BenchmarkSearch(b *testing.B) {
	for _, x := range []struct {
		cluster string
		devices int
		batch   int
	}{{"a100-1024", 1024, 1536}, {"h100-4096", 4096, 4096}} {
		b.Run(x.cluster, func(b *testing.B) {
			for b.Loop() {
				r := request(b, "gpt3-175b", x.cluster)
				r.Workers, r.Batches, r.Program.Seq = x.devices, []int{x.batch}, 2048
				p, err := planning.Open(r)
				if err != nil {
					b.Fatal(err)
				}
				found, err := p.Choose(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.Report(found.Evaluation); err != nil {
					b.Fatal(err)
				}
				p.Close()
				b.Log(found.Plan, found.Step, found.Cells, found.Skipped)
				b.ReportMetric(float64(x.batch)/found.Step, "sequences/s")
			}
		})
	}
}

// request asks for a plan of a preset on a cluster's preset in bf16, by the
// strategies that galvani plan search uses unless told otherwise.
func request(t testing.TB, model, machines string) planning.Request {
	cfg, err := models.Preset(model)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Preset(machines)
	if err != nil {
		t.Fatal(err)
	}
	return planning.Request{
		Name: model, Program: program.Options{Model: cfg, Precision: "bf16"}, Cluster: c, Threads: 1,
		Paradigms: []search.Paradigm{search.DP, search.ZeRO1, search.ZeRO2, search.SDP, search.TP}, Checkpoint: true,
	}
}
