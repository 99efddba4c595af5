package data

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func tokenFile(t testing.TB, ids ...int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.tokens")
	f := must(os.Create(path))
	w := must(newTokenWriter(f, 300))
	if err := errors.Join(w.write(ids), w.close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return must(os.ReadFile(path))
}

func TestOpenTokens(t *testing.T) {
	good := tokenFile(t, 1, 2, 3)
	edit := func(at int, b byte) []byte {
		bad := slices.Clone(good)
		bad[at] = b
		return bad
	}
	for _, c := range []struct {
		name, ext string
		content   []byte
		want      string
	}{
		{"good", ".tokens", good, ""},
		{"cut in the ids", ".tokens", good[:len(good)-2], "expected 70 bytes, found 68"},
		{"cut in the header", ".tokens", good[:20], "expected 64 bytes, found 20"},
		{"grown", ".tokens", append(slices.Clone(good), 0), "expected 70 bytes, found 71"},
		{"empty", ".tokens", nil, "expected 64 bytes, found 0"},
		{"another file", ".tokens", edit(0, 'X'), "no GALVTOK header"},
		{"another version", ".tokens", edit(8, 9), "version 9; this program reads version 1"},
		{"damaged header", ".tokens", edit(17, 9), "header's checksum"},
		{"damaged ids", ".tokens", edit(64, 9), "checksum of the ids"},
		{"raw", ".bin", []byte{1, 0, 2, 0, 3, 0}, ""},
		{"odd raw", ".bin", []byte{1, 0, 2, 0, 3}, "expected 6 bytes, found 5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeFile(t, filepath.Join(t.TempDir(), "f"+c.ext), c.content)
			tokens, err := openVerified(path)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("error = %v, want %q and the path", err, c.want)
				}
				var corrupt *CorruptError
				if errors.As(err, &corrupt) != strings.Contains(c.want, "bytes") {
					t.Errorf("error is %T", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := all(tokens); !slices.Equal(got, []int32{1, 2, 3}) {
				t.Errorf("ids %v", got)
			}
			if err := errors.Join(tokens.Close(), tokens.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "none.bin"), t.TempDir()} {
		if _, err := OpenTokens(path); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
}

func TestValidate(t *testing.T) {
	ids := make([]int, 10_000)
	ids[9_999] = 300
	tokens := must(OpenTokens(writeBin(t, ids...)))
	defer tokens.Close()
	if err := tokens.Validate(301); err != nil {
		t.Error(err)
	}
	err := tokens.Validate(300)
	var bad *IDError
	if !errors.As(err, &bad) || *bad != (IDError{tokens.Path(), 9_999, 300, 300}) {
		t.Errorf("error = %v", err)
	}
	labels := must(openRaw(writeBin(t, 5, -100, -1), int16s))
	defer labels.Close()
	if err := labels.Validate(6); !errors.As(err, &bad) || bad.Position != 2 || bad.ID != -1 {
		t.Errorf("labels: error = %v", err)
	}
}

func FuzzTokenFile(f *testing.F) {
	f.Add(tokenFile(f, 1, 2, 3))
	f.Add([]byte("GALVTOK\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		tokens, err := OpenTokens(writeFile(t, filepath.Join(t.TempDir(), "f.tokens"), content))
		if err != nil {
			return
		}
		if got := len(all(tokens)); got != tokens.Len() {
			t.Errorf("%d ids, want %d", got, tokens.Len())
		}
		if err := errors.Join(tokens.Verify(), tokens.Close()); err != nil {
			t.Log(err)
		}
	})
}
