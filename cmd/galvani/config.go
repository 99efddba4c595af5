package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/galvani-ml/galvani/train"
)

// configResolver gives the flags of `train` their values from the YAML
// configuration named on the command line, and under --resume from that of the
// run before. Flags given on the command line come first.
type configResolver struct{}

// Validate has nothing to check: files are checked when they are read.
func (configResolver) Validate(*kong.Application) error { return nil }

// Resolve looks a flag up in the files that the command line names.
func (configResolver) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	selected := ctx.Selected()
	if selected == nil || selected.Name != "train" {
		return nil, nil
	}
	// Files hold no secrets, so the environment, which may, comes before them.
	if slices.ContainsFunc(flag.Envs, func(name string) bool { _, set := os.LookupEnv(name); return set }) {
		return nil, nil
	}
	files, err := configFiles(ctx)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		values, err := train.ReadConfigFile(file)
		if err != nil {
			return nil, err
		}
		if v, ok := values[flag.Name]; ok {
			return text(v), nil
		}
	}
	return nil, nil
}

// configFiles returns the files that hold values, the more binding first.
func configFiles(ctx *kong.Context) ([]string, error) {
	var files []string
	var out string
	var resume bool
	for _, p := range ctx.Path {
		switch {
		case p.Positional != nil && p.Positional.Name == "config":
			files = append(files, ctx.Value(p).String())
		case p.Flag != nil && p.Flag.Name == "out":
			out = ctx.Value(p).String()
		case p.Flag != nil && p.Flag.Name == "resume":
			resume = ctx.Value(p).Bool()
		}
	}
	if !resume || out == "" {
		return files, nil
	}
	last := filepath.Join(out, train.ConfigName)
	if _, err := os.Stat(last); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("--resume: %s: no such file: is %s the --out of a run?", last, out)
	}
	return append(files, last), nil
}

// text gives a YAML value as it would stand on the command line.
func text(v any) string {
	if list, ok := v.([]any); ok {
		var parts []string
		for _, x := range list {
			parts = append(parts, fmt.Sprint(x))
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v)
}
