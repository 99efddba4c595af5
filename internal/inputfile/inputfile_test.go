//go:build unix

package inputfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("12345"), 0o666); err != nil {
		t.Fatal(err)
	}
	if data, err := Read(path, 5); err != nil || string(data) != "12345" {
		t.Errorf("%q, %v", data, err)
	}
	var size *SizeError
	if _, err := Read(path, 4); !errors.As(err, &size) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want a size with the path", err)
	}
	if _, err := Read(path+"x", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if _, err := Read("/dev/zero", 1<<10); !errors.As(err, &size) {
		t.Errorf("a file without end: %v", err)
	}
}

func TestReadRoot(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	for _, path := range []string{secret, filepath.Join(dir, "file")} {
		if err := os.WriteFile(path, []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(
		os.Symlink(secret, filepath.Join(dir, "out")), os.Symlink("file", filepath.Join(dir, "in")),
		os.Symlink(outside, filepath.Join(dir, "folder")), syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o666),
	)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"file", "in"} {
		if data, err := ReadRoot(root, name, name, 1); err != nil || string(data) != "x" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for _, name := range []string{"out", "folder/secret", "../" + filepath.Base(outside) + "/secret", secret, "pipe", ".", "none"} {
		data, err := ReadRoot(root, name, filepath.Join(dir, name), 1)
		var path *fs.PathError
		if !errors.As(err, &path) || path.Path != filepath.Join(dir, name) {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}
