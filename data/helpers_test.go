package data

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/galvani-ml/galvani/data/tokenizer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type failer interface {
	Helper()
	Fatal(...any)
}

func writeFile(t failer, path string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeBin writes int16 or uint16 elements to a new file.
func writeBin(t testing.TB, ids ...int) string {
	t.Helper()
	return writeFile(t, filepath.Join(t.TempDir(), "t.bin"), encodeBin(ids))
}

func encodeBin(ids []int) []byte {
	var raw []byte
	for _, id := range ids {
		raw = binary.LittleEndian.AppendUint16(raw, uint16(id))
	}
	return raw
}

// count returns 0, 1, ... n-1, so that a token tells its position.
func count(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i
	}
	return ids
}

func bytesBPE(special ...string) tokenizer.Tokenizer {
	opts := tokenizer.TrainOptions{VocabSize: 256 + len(special), Special: special}
	return must(tokenizer.TrainBPE(slices.Values([]string(nil)), opts))
}

func all(t *Tokens) []int32 {
	ids := make([]int32, t.Len())
	t.Copy(ids, 0)
	return ids
}
