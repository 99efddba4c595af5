package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/galvani-ml/galvani/internal/shared"
)

// sharedFile returns the path of a test file that lies beside the checkout, and skips the test without it.
func sharedFile(t testing.TB, parts ...string) string {
	t.Helper()
	return shared.Path(t, append([]string{"data"}, parts...)...)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// gpt2 builds GPT-2's tokenizer from its rank file.
func gpt2(t testing.TB) *BPE {
	t.Helper()
	path := sharedFile(t, "r50k_base.tiktoken")
	bpe, err := fromRanks(path)
	if err != nil {
		t.Fatal(err)
	}
	return bpe
}

// fromRanks reads a file of "base64-token rank" lines, once. The rule that makes a token is the pair that
// the rules before it leave.
var fromRanks = func() func(string) (*BPE, error) {
	var once sync.Once
	var bpe *BPE
	var err error
	return func(path string) (*BPE, error) {
		once.Do(func() { bpe, err = readRanks(path) })
		return bpe, err
	}
}()

func readRanks(path string) (*BPE, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	v := vocab{}
	t := &BPE{byPair: map[pair]step{}}
	e := &encoder{bpe: t}
	var merges []merge
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var text string
		var rank int
		if _, err := fmt.Sscan(lines.Text(), &text, &rank); err != nil {
			return nil, err
		}
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, err
		}
		v[nameOfBytes(string(raw))] = rank
		t.texts = append(t.texts, string(raw))
		if len(raw) == 1 {
			t.byByte[raw[0]] = int32(rank)
			continue
		}
		parts := e.appendMerged(nil, string(raw))
		if len(parts) != 2 {
			return nil, fmt.Errorf("token %d is made of %d parts", rank, len(parts))
		}
		t.byPair[pair{int32(parts[0]), int32(parts[1])}] = step{int32(rank), int32(rank)}
		merges = append(merges, merge{nameOfBytes(t.texts[parts[0]]), nameOfBytes(t.texts[parts[1]])})
	}
	end := AddedToken{ID: len(v), Content: "<|endoftext|>", Special: true}
	return newBPE(v, merges, []AddedToken{end}, bpeOptions{})
}
