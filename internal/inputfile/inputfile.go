// Package inputfile reads files that others wrote, each kind up to a size, so that none takes memory without bound.
package inputfile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// SizeError is a file of more bytes than its kind may have.
type SizeError struct {
	Path  string
	Limit int64 // bytes
}

// Error tells the limit.
func (e *SizeError) Error() string {
	return fmt.Sprintf("%s: larger than %d bytes, the most that is read of such a file: is it the right one?", e.Path, e.Limit)
}

// Read returns the content of a file of at most limit bytes. It may be a pipe. Errors are those of [os.Open] and
// reading, or a *[SizeError].
func Read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f, path, limit)
}

// ReadRoot is Read for a regular file below root, which links do not leave. path names it in errors.
func ReadRoot(root *os.Root, name, path string, limit int64) ([]byte, error) {
	f, err := OpenRoot(root, name, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f, path, limit)
}

// OpenRoot opens a regular file below root, which links do not leave; anything else, as a pipe, is an error. path
// names it in errors.
func OpenRoot(root *os.Root, name, path string) (*os.File, error) {
	info, err := root.Stat(name) // before it is opened: opening a pipe waits for a writer
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", fs.ErrInvalid)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: cause(err)}
	}
	return root.Open(name)
}

// cause is an error without the path, which the root's names lack the beginning of.
func cause(err error) error {
	if p, ok := err.(*fs.PathError); ok { //nolint:errorlint // the outermost alone
		return p.Err
	}
	return err
}

func read(r io.Reader, path string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &SizeError{path, limit}
	}
	return data, nil
}
