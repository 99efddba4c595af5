package launch

import (
	"strings"
	"testing"
)

func TestTailBufferKeepsTheEnd(t *testing.T) {
	var b tailBuffer
	for range 1000 {
		if _, err := b.Write([]byte("a line of some length\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Write([]byte("panic: the last\n")); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	if len(got) > tailBytes || !strings.HasPrefix(got, "a line") || !strings.HasSuffix(got, "panic: the last") {
		t.Errorf("%d bytes, from %.20q to %q", len(got), got, got[len(got)-20:])
	}
}
