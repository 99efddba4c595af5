package train

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// putCheckpoint makes a checkpoint of one file.
func putCheckpoint(t *testing.T, out string, step int) string {
	t.Helper()
	dir := stepDir(out, step)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), []byte("tensors"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := writeManifest(dir, Manifest{Step: step}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLatestCheckpointIsTheNewestComplete(t *testing.T) {
	out := t.TempDir()
	if _, _, err := LatestCheckpoint(out); !errors.Is(err, ErrNoCheckpoint) {
		t.Errorf("without any: %v", err)
	}
	putCheckpoint(t, out, 9)
	want := putCheckpoint(t, out, 120)
	for _, incomplete := range []string{stepDir(out, 300), partialDir(out, 400)} { // no manifest, not renamed
		if err := os.MkdirAll(incomplete, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	dir, m, err := LatestCheckpoint(out)
	if err != nil || dir != want || m.Step != 120 {
		t.Errorf("%s, %v, %v, want %s", dir, m, err, want)
	}
	if err := removePartial(out); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(partialDir(out, 400)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a partial checkpoint is left: %v", err)
	}
}

func TestDamagedCheckpointsAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, manifest, want string
	}{
		{"other schema", `{"schema": "galvani/checkpoint/v9"}`, `schema "galvani/checkpoint/v9", this version reads`},
		{"no JSON", `{"schema": `, "unexpected end"},
		{"path out of the directory", `{"schema": "galvani/checkpoint/v1", "files": {"../../etc/passwd": {}}}`, `"../../etc/passwd" leaves the checkpoint`},
		{"missing file", `{"schema": "galvani/checkpoint/v1", "files": {"gone": {"bytes": 1}}}`, "no such file"},
		{"other size", `{"schema": "galvani/checkpoint/v1", "files": {"model.safetensors": {"bytes": 8, "crc32c": "00000000"}}}`, "damaged: 7 bytes"},
	} {
		dir := putCheckpoint(t, t.TempDir(), 1)
		if err := os.WriteFile(filepath.Join(dir, manifestName), []byte(c.manifest), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadManifest(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}

// TestCheckpointsStayInTheirDirectory refuses links and pipes that a manifest
// names, and links that it does not.
func TestCheckpointsStayInTheirDirectory(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("tensors"), 0o666); err != nil {
		t.Fatal(err)
	}
	const listed = `{"schema": "galvani/checkpoint/v1", "files": {"x": {"bytes": 7, "crc32c": "00000000"}}}`
	for name, c := range map[string]struct {
		manifest string
		put      func(path string) error
	}{
		"link":          {listed, func(path string) error { return os.Symlink(secret, path) }},
		"relative link": {listed, func(path string) error { return os.Symlink("../../../secret", path) }},
		"unlisted link": {`{"schema": "galvani/checkpoint/v1"}`, func(path string) error { return os.Symlink(secret, path) }},
		"folder":        {listed, func(path string) error { return os.Mkdir(path, 0o777) }},
		"pipe":          {listed, func(path string) error { return syscall.Mkfifo(path, 0o666) }},
		"endless":       {listed, func(path string) error { return os.Symlink("/dev/zero", path) }},
	} {
		dir := putCheckpoint(t, t.TempDir(), 1)
		path := filepath.Join(dir, "x")
		if err := errors.Join(c.put(path), os.WriteFile(filepath.Join(dir, manifestName), []byte(c.manifest), 0o666)); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadManifest(dir); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error that names %s", name, err, path)
		}
	}
}

// TestMetricsOfResumedRun shows that a run that goes on after a step keeps the
// lines up to that step, and no half line of a crash.
func TestMetricsOfResumedRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	text := "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":"
	for _, c := range []struct {
		start int
		want  string
	}{{0, ""}, {2, "{\"step\":1}\n{\"step\":2}\n"}, {3, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n"}, {9, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n"}} {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		m, err := openMetrics(path, c.start)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.close(); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != c.want {
			t.Errorf("after step %d: %q, want %q", c.start, got, c.want)
		}
	}
}

func TestSizeReadsBack(t *testing.T) {
	for text, want := range map[string]Size{"200MiB": 200 << 20, "1.5GB": 1_500_000_000, "4096": 4096, "1 kib": 1024} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %d, %v, want %d", text, s, err, want)
		}
	}
	for _, bad := range []string{"", "MiB", "-3MiB", "9999999999999TiB", "3 parsecs"} {
		var s Size
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is read as %d", bad, s)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := Size(rapid.Int64Range(0, 1<<45).Draw(t, "size"))
		text, _ := want.MarshalText()
		var got Size
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Fatalf("%d writes %s and reads %d (%v)", want, text, got, err)
		}
	})
}
