package models_test

import (
	"fmt"
	"log"

	"github.com/galvani-ml/galvani/models"
)

// A preset, with another vocabulary, as the graph of one micro-batch of 8
// sequences of 128 tokens.
func Example() {
	cfg, err := models.Preset("gpt-nano")
	if err != nil {
		log.Fatal(err)
	}
	cfg, err = models.WithVocab(cfg, 512)
	if err != nil {
		log.Fatal(err)
	}
	m, err := models.Build(cfg, models.Options{Batch: 8, Seq: 128, Train: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range m.Layers {
		fmt.Println(l.Name, l.Kind)
	}
	fmt.Println(m.NumParams(), "parameters, logits", m.Logits.Shape())
	// Output:
	// embedding gpt2.embedding
	// h.0 gpt2.block
	// h.1 gpt2.block
	// h.2 gpt2.block
	// head gpt2.head
	// 158640 parameters, logits (8, 128, 512)
}
