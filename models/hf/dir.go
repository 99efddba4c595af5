package hf

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/galvani-ml/galvani/models"
)

// Dir is an open Hugging Face directory. Its tensors have the names of the
// model's parameters.
type Dir struct {
	*Tensors
	Path   string
	Config models.Config
	// twins are the tensors saved twice, second name to first.
	twins map[string]string
}

// Open reads the configuration and the headers of the tensors of a directory;
// [Dir.Check] then compares them. Errors are of type *[FileError], around a
// *[models.ConfigError] where the configuration is at fault.
func Open(dir string) (_ *Dir, err error) {
	cfg, err := readConfig(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	t, err := OpenTensors(dir, "model")
	if err != nil {
		return nil, err
	}
	d := &Dir{Tensors: t, Path: dir, Config: cfg, twins: map[string]string{}}
	if err := d.rename(namingOf(cfg)); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return d, nil
}

func readConfig(path string) (models.Config, error) {
	data, err := readLimited(path, 1<<20)
	if err != nil {
		return nil, err
	}
	cfg, err := models.ParseConfig(data)
	if err != nil {
		return nil, &FileError{path, err}
	}
	return cfg, nil
}

// rename gives the tensors the model's names, drops what is not the model's,
// and sets twins apart.
func (d *Dir) rename(n naming) error {
	named := map[string]entry{}
	for _, name := range d.Names() {
		e := d.entries[name]
		canonical := n.canonical(name)
		if n.skip.MatchString(canonical) {
			continue
		}
		if _, ok := named[canonical]; ok {
			return &FileError{e.file.path, fmt.Errorf("two tensors are named %s, with and without prefix", canonical)}
		}
		named[canonical] = e
	}
	for twin, first := range n.twins {
		second, ok := named[twin]
		if !ok {
			continue
		}
		if _, ok := named[first]; ok {
			d.twins[twin] = first
			continue
		}
		named[first] = second // saved under the second name only
		delete(named, twin)
	}
	d.entries = named
	return nil
}
