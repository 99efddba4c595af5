package train

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/internal/inputfile"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/train/planning"
	"github.com/galvani-ml/galvani/train/profile"
)

// Here names this machine, measured, among clusters.
const Here = "here"

// describeCluster finds the machines that a plan is for: this one, measured, a
// preset, or a file's.
func (s *setup) describeCluster(ctx context.Context, r *planning.Request, fresh bool, others ...parallel.Strategy) (err error) {
	name := cmp.Or(s.config.Cluster, Here)
	if name == Here {
		return s.measureHere(ctx, r, fresh, others)
	}
	if r.Cluster, err = readCluster(name); err != nil {
		return fmt.Errorf("--cluster: %w", err)
	}
	return nil
}

// readCluster reads a preset or a file.
func readCluster(name string) (*cluster.Cluster, error) {
	if slices.Contains(cluster.Presets(), name) {
		return cluster.Preset(name)
	}
	text, err := inputfile.Read(name, maxFileBytes)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%q is neither %s, nor a preset (%s), nor a file", name, Here, strings.Join(cluster.Presets(), ", "))
	}
	if err != nil {
		return nil, err
	}
	c, err := cluster.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// measureHere measures this machine and the layers of the model, or takes what
// was measured before.
func (s *setup) measureHere(ctx context.Context, r *planning.Request, fresh bool, others []parallel.Strategy) error {
	hardware, err := profile.Hardware(ctx, profile.Options{Workers: r.Workers, Plane: comm.Plane(s.config.Collectives), NATS: s.config.NATS, Fresh: fresh, Version: s.version, Say: s.sayOnce("profile", "measuring this machine, once")})
	if err != nil {
		return err
	}
	r.Cluster = hardware.Cluster
	o, err := r.Layers(others...)
	if err != nil {
		return err
	}
	o.Fresh, o.Say = fresh, s.sayOnce("profile", "measuring the layers of the model, once")
	var layers string
	r.Times, layers, err = profile.MeasureLayers(ctx, o)
	s.profiles = []string{filepath.Base(hardware.Path), filepath.Base(layers)}
	return err
}

// sayOnce says one thing the first time that something is said.
func (s *setup) sayOnce(name, text string) func(string, string) {
	said := false
	return func(string, string) {
		if !said {
			s.say(name, "%s", text)
			said = true
		}
	}
}

// ProfileLayers measures the layers of a model on this machine, for as many
// workers as o says. path names a file for the result, empty for none.
func ProfileLayers(ctx context.Context, o PlanOptions, fresh bool, path string, out Output) error {
	s, err := o.open(ctx, planAuto, out)
	if err != nil {
		return err
	}
	r, err := s.request(nil, o.Batch)
	if err != nil {
		return err
	}
	layers, err := r.Layers()
	if err != nil {
		return err
	}
	layers.Fresh, layers.Say = fresh, func(name, text string) { s.say(name, "%s", text) }
	times, kept, err := profile.MeasureLayers(ctx, layers)
	if err != nil {
		return err
	}
	if path != "" {
		if err := times.Save(path); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	if out.JSON {
		return json.NewEncoder(out.Result).Encode(times)
	}
	times.Write(out.Result)
	_, err = fmt.Fprintf(out.Result, "kept       %s\n", kept)
	return err
}
