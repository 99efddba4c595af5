// Package atomicfile writes a file so that a reader sees all of it or none of it.
package atomicfile

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Write creates path with what fill writes. The bytes go to a temporary file in the same directory, which
// is flushed to disk and renamed over path only when fill succeeds; on any error path is left as it was.
// fill may seek, so that a header can be written last.
func Write(path string, fill func(w io.WriteSeeker) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(f.Close()), ignoreMissing(os.Remove(f.Name())))
		}
	}()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable, where the system can.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// WriteStream is Write for a fill that only appends; its small writes are gathered in a buffer.
func WriteStream(path string, fill func(w io.Writer) error) error {
	return Write(path, func(w io.WriteSeeker) error {
		b := bufio.NewWriterSize(w, 1<<20)
		if err := fill(b); err != nil {
			return err
		}
		return b.Flush()
	})
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil // it has its name already
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
