package tokenizer_test

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/data/tokenizer"
)

func Example() {
	texts := []string{"low low low low lowest lowest", " new new newest newest newest"}
	t, err := tokenizer.TrainBPE(slices.Values(texts), tokenizer.TrainOptions{
		VocabSize: 300,
		Special:   []string{"<|endoftext|>"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ids := t.Encode("lowest new<|endoftext|>")
	for _, id := range ids {
		fmt.Printf("%d=%q\n", id, t.Decode([]int{id}))
	}
	fmt.Printf("%q\n", t.Decode(ids))
	// Output:
	// 258="low"
	// 264="est"
	// 262=" new"
	// 0="<|endoftext|>"
	// "lowest new<|endoftext|>"
}
