package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTrainChart(t *testing.T) {
	second := trained
	second.Training = &Training{Workload: "char", Side: Side{TokensPerSecond: 5000}}
	second.Name = character.Name()
	checkPicture(t, "testdata/train.svg", trainChart([]Result{trained, second}, "Some CPU, 2 threads"))
}

func TestCPUChart(t *testing.T) {
	checkPicture(t, "testdata/cpu.svg", cpuChart([]Result{
		{Name: "fma-fp32-avx512-1t", Value: 248, Unit: "GFLOP/s", OfPeak: 1},
		{Name: "memory-read-1t", Value: 32, Unit: "GB/s", OfPeak: 1},
		{Name: "gemm-fp32-NN-256x768x768-1t", Value: 240, Unit: "GFLOP/s", OfPeak: 0.968, Peers: map[string]float64{openBLAS: 1.05}},
		{Name: "gemm-fp32-TN-768x768x256-1t", Value: 200, Unit: "GFLOP/s", OfPeak: 0.806},
		{Name: "gemm-fp32-M256-1t", Value: 1.05, Unit: "of openblas", Peers: map[string]float64{openBLAS: 1.05}},
		{Name: "attention-grad-fp32-B4-H12-T256-D64-2t", Value: 250, Unit: "GFLOP/s", OfPeak: 0.5},
		{Name: "adamw-fp32-25165824-2t", Value: 40, Unit: "GB/s", OfPeak: 1.02},
	}, "Some CPU, 2 threads"))
}

// checkPicture compares a chart with a golden file and wants it to be XML.
func checkPicture(t *testing.T, path string, c chart) {
	t.Helper()
	text, err := c.svg()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, path, string(text))
	for in := xml.NewDecoder(bytes.NewReader(text)); ; {
		if _, err := in.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestChartFile writes one, and is told before any measurement that it cannot.
func TestChartFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chart.svg")
	o := TrainOptions{Rounds: 1, Steps: 1, Threads: 1, Peers: []string{PeersNone}, SVG: path}
	if err := train(t.Context(), o, io.Discard, tiny); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), tiny.Name()) {
		t.Errorf("%v, %s", err, text)
	}
	for _, bad := range []string{filepath.Join(path, "x.svg"), filepath.Join(t.TempDir(), "absent", "x.svg")} {
		if err := Train(t.Context(), TrainOptions{SVG: bad}, nil); err == nil || !strings.Contains(err.Error(), "writing the chart") {
			t.Errorf("%s: %v", bad, err)
		}
		if err := CPU(t.Context(), CPUOptions{SVG: bad}, nil); err == nil || !strings.Contains(err.Error(), "writing the chart") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
