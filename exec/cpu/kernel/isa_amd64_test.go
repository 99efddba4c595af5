package kernel

import (
	"os"
	"regexp"
	"testing"
)

// TestAVX2Registers looks for registers only AVX-512 has: the generator's
// allocation would hand them out, and a processor with AVX-512 run them.
func TestAVX2Registers(t *testing.T) {
	source, err := os.ReadFile("avx2_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`\b([XY](1[6-9]|2\d|3[01])|Z\d+|K[0-7])\b`).Find(source); found != nil {
		t.Errorf("avx2_amd64.s uses %s", found)
	}
}
