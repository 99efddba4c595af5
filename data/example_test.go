package data_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/galvani-ml/galvani/data"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	var raw []byte
	for id := range uint16(100) {
		raw = binary.LittleEndian.AppendUint16(raw, id)
	}
	path := filepath.Join(dir, "tokens.bin")
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		fmt.Println(err)
		return
	}

	ds, err := data.Open(context.Background(), data.Options{
		Source: path,
		Order:  data.Sequential,
		Batch:  2,
		Seq:    4,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ds.Close()
	batch, err := ds.Batch(1)
	fmt.Println(batch.Inputs, err)
	fmt.Println(batch.Targets, batch.Count)
	// Output:
	// [8 9 10 11 12 13 14 15] <nil>
	// [9 10 11 12 13 14 15 16] 8
}
