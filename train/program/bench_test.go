package program_test

import (
	"fmt"
	"testing"

	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/program"
)

// BenchmarkWorks compiles for GPT-2 medium under strategies of few ranks and of many.
func BenchmarkWorks(b *testing.B) {
	cfg, err := models.Preset("gpt2-medium")
	if err != nil {
		b.Fatal(err)
	}
	backend, err := cpu.New(1)
	if err != nil {
		b.Fatal(err)
	}
	defer backend.Close()
	for _, stages := range []int{1, 4} {
		for _, s := range []parallel.Strategy{
			{DP: 8, TP: 1}, {DP: 128, TP: 4, SP: 2, ZeRO: 3}, {DP: 128, TP: 8, Checkpoint: true, SequenceParallel: true}, {DP: 512, TP: 8},
		} {
			b.Run(fmt.Sprintf("%v,stages=%d", s, stages), func(b *testing.B) {
				for b.Loop() {
					if _, err := program.Works(program.Options{Model: cfg, Seq: 1024}, s, stages, s.DP, backend); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
