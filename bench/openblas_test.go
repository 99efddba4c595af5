package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestFakeBLAS plays the protocol with a script.
func TestFakeBLAS(t *testing.T) {
	for _, c := range []struct{ script, fault string }{
		{`read q; echo '{"error":"no OpenBLAS: none"}'; exit 1`, "openblas: no OpenBLAS: none"},
		{`echo it is broken >&2; exit 1`, "it is broken"},
		{`read q; echo '{"version":"1"}'; read q; echo '{"seconds":[1,1,1],"sample":[1e9,0,0]}'`, "they do not compute the same"},
		{`read q; echo '{"version":"1"}'; read q; echo '{"seconds":[1],"sample":[0,0,0]}'`, "asked for 3 repetitions and reports 1"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			fakePython(t, c.script)
			err := measureCPU(t.Context(), CPUOptions{Threads: 1, OpenBLAS: true}, &bytes.Buffer{}, quick, stopwatch)
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %v, want an error with %q", err, c.fault)
			}
		})
	}
}

// TestOpenBLAS measures for real, where there is one.
func TestOpenBLAS(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 here")
	}
	b, err := startBLAS(t.Context(), "")
	if err != nil {
		t.Skip(err)
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	defer goleak.VerifyNone(t)
	sizes := quick // so that no operand fits what repeats
	sizes.rows, sizes.width = []int{80}, 64
	var out bytes.Buffer
	if err := measureCPU(t.Context(), CPUOptions{Threads: 2, OpenBLAS: true, JSON: true}, &out, sizes, stopwatch); err != nil {
		t.Fatal(err)
	}
	sums := 0
	for lines := json.NewDecoder(&out); lines.More(); {
		var r Result
		if err := lines.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if gemm := strings.HasPrefix(r.Name, "gemm-fp32"); gemm != (r.Peers[openBLAS] > 0) {
			t.Errorf("%s has peers %v", r.Name, r.Peers)
		}
		if r.Products != nil {
			sums++
			if r.Count != 15 || r.Worst <= 0 || r.Worst > r.Value || !strings.Contains(r.Library, "OpenBLAS") {
				t.Errorf("summary %+v", r)
			}
		}
	}
	if sums != 2 {
		t.Errorf("%d summaries, want one of each number of threads", sums)
	}
}

func TestNoLibrary(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 here")
	}
	defer goleak.VerifyNone(t)
	err := CPU(t.Context(), CPUOptions{OpenBLAS: true, Library: "/absent/libopenblas.so"}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "/absent/libopenblas.so") {
		t.Errorf("got %v", err)
	}
}

func TestDuels(t *testing.T) {
	s := &cpuSuite{}
	for _, rows := range []int{256, 1024} {
		s.record(job{rows: rows}, 2, "fast", 2)
		s.record(job{rows: rows}, 2, "slow", 0.5*float64(rows)/256)
	}
	if len(s.duels) != 2 {
		t.Fatalf("%d groups, want 2", len(s.duels))
	}
	r := s.duels[0].summary("1")
	if r.Name != "gemm-fp32-M256-2t" || math.Abs(r.Value-1) > 1e-12 || r.Worst != 0.5 || r.WorstName != "slow" {
		t.Errorf("summary %+v of %+v", r, r.Products)
	}
	var out bytes.Buffer
	emit := figures(&out, true)
	for _, r := range []Result{
		{Name: "gemm-fp32-NN-256x768x768-2t", Value: 450, Unit: "GFLOP/s", OfPeak: 0.9, Peers: map[string]float64{openBLAS: 1.05}},
		{Name: "adamw-fp32-25165824-2t", Value: 40, Unit: "GB/s", OfPeak: 1.02},
		s.duels[0].summary("OpenBLAS 1"), s.duels[1].summary("OpenBLAS 1"),
	} {
		if err := emit(r); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/openblas.txt", out.String())
}
