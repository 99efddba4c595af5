package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// goStd is the corpus of the Go standard library: the .go files below $GOROOT/src that people wrote, tests
// included, without the commands, vendored packages and test data. They come in the order of a hash of their
// paths, so that the end of the corpus, which validates, is like the rest; by name it would be package unicode.
func goStd(ctx context.Context) (*Corpus, error) {
	root, err := goRoot(ctx)
	if err != nil {
		return nil, err
	}
	src := filepath.Join(root, "src")
	paths, err := walk(ctx, src, func(path string, d fs.DirEntry) (bool, error) {
		switch name := d.Name(); {
		case strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_"):
			return false, nil
		case d.IsDir():
			return name != "testdata" && name != "vendor" && path != filepath.Join(src, "cmd"), nil
		case !d.Type().IsRegular() || !strings.HasSuffix(name, ".go"):
			return false, nil
		default:
			generated, err := isGenerated(path)
			return !generated, err
		}
	})
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("data: %s: no Go source in %s: this Go installation lacks its standard library's source", GoStd, src)
	}
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(pathKey(src, a), pathKey(src, b)) })
	return &Corpus{spec: GoStd, paths: paths}, nil
}

// generatedMark is how Go marks files that a program wrote (go help generate): tables, mostly.
var generatedMark = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// isGenerated looks for the mark in the comments at the start of a file, where it belongs.
func isGenerated(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 4<<10))
	comments, _, _ := bytes.Cut(append([]byte("\n"), head...), []byte("\npackage "))
	return generatedMark.Match(comments), err
}

// pathKey hashes a path below src; it is the same on every system.
func pathKey(src, path string) string {
	d := newDigest()
	d.add(filepath.ToSlash(strings.TrimPrefix(path, src)))
	return d.sum()
}

// goRoot asks the go command, else takes $GOROOT.
func goRoot(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = os.TempDir() // outside any module, whose go.mod could ask for another toolchain
	out, err := cmd.Output()
	if root := strings.TrimSpace(string(out)); err == nil && root != "" {
		return root, nil
	}
	if root := os.Getenv("GOROOT"); root != "" {
		return root, nil
	}
	if err == nil {
		err = errors.New("it is empty")
	}
	return "", fmt.Errorf("data: %s: cannot find the Go installation: go env GOROOT: %w: install Go, set GOROOT, or give another --data", GoStd, err)
}
