package hf

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// replace writes path by way of a temporary file beside it, which is flushed
// to disk before it takes the name.
func replace(path string, fill func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return fileError(path, err)
	}
	done := false
	defer func() {
		if !done {
			f.Close() // a second close only says so
			err = errors.Join(fileError(path, err), os.Remove(f.Name()))
		}
	}()
	b := bufio.NewWriterSize(f, 1<<20)
	if err := fill(b); err != nil {
		return err
	}
	for _, step := range []func() error{
		b.Flush,
		func() error { return f.Chmod(0o644) },
		f.Sync,
		f.Close,
		func() error { return os.Rename(f.Name(), path) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	done = true
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fileError(dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fileError(dir, err)
	}
	return nil
}
