package parallel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Schema names the version of the JSON form of plans.
const Schema = "galvani/plan/v1"

// maxPlanBytes bounds the JSON form; a plan of 4,096 layers, each with a strategy
// of its own, is of half a megabyte.
const maxPlanBytes = 4 << 20

// planFile is the JSON form.
type planFile struct {
	Schema     string     `json:"schema"`
	Mesh       Mesh       `json:"mesh"`
	Micro      int        `json:"micro_batches"`
	Schedule   Schedule   `json:"schedule"`
	Stages     []int      `json:"stages,omitempty"`
	Strategy   Strategy   `json:"strategy"`
	Layers     []Strategy `json:"layers,omitempty"`
	Provenance Provenance `json:"provenance,omitzero"`
}

// MarshalJSON gives the JSON form.
func (p *Plan) MarshalJSON() ([]byte, error) {
	return json.Marshal(planFile{
		Schema: Schema, Mesh: p.Mesh(), Micro: p.Micro, Schedule: p.Schedule, Stages: p.Stages,
		Strategy: p.Strategy, Layers: p.Layers, Provenance: p.Provenance,
	})
}

// UnmarshalJSON reads the JSON form strictly: another schema, an unknown key,
// or a mesh that is not the plan's own is an error.
func (p *Plan) UnmarshalJSON(data []byte) error {
	if len(data) > maxPlanBytes {
		return fmt.Errorf("plan: %d bytes are too many: at most %d are read", len(data), maxPlanBytes)
	}
	var version struct{ Schema string }
	if err := json.Unmarshal(data, &version); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if version.Schema != Schema {
		return &ValueError{"schema", fmt.Sprintf("%.100q", version.Schema), fmt.Sprintf("this version reads %q", Schema)}
	}
	var f planFile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if len(f.Mesh) > maxAxes {
		return &ValueError{"mesh", fmt.Sprintf("(%d axes)", len(f.Mesh)), fmt.Sprintf("must have at most %d", maxAxes)}
	}
	q := Plan{Strategy: f.Strategy, Layers: f.Layers, Micro: f.Micro, Schedule: f.Schedule, Stages: f.Stages, Provenance: f.Provenance}
	if f.Mesh.Index(AxisPP) != 0 {
		return &ValueError{"mesh", f.Mesh.text(), "the first axis must be pp"}
	}
	q.PP = f.Mesh[0].Size
	if err := q.checkValues(); err != nil {
		return err
	}
	if !slices.Equal(f.Mesh, q.Mesh()) {
		return &ValueError{"mesh", f.Mesh.text(), f.Mesh.unlike(q.Mesh())}
	}
	*p = q
	return nil
}

// maxAxes bounds the axes of a mesh: each halves the ranks of a stage, or more.
const maxAxes = 64

// text lists the axes as "pp=2 dp=2".
func (m Mesh) text() string {
	words := make([]string, len(m))
	for i, a := range m {
		words[i] = fmt.Sprintf("%s=%d", a.Name, a.Size)
	}
	return strings.Join(words, " ")
}

// unlike says how a mesh differs from the one that strategies make.
func (m Mesh) unlike(want Mesh) string {
	remedy := fmt.Sprintf("the strategies make it %s", want.text())
	for i, a := range m {
		if m.Index(a.Name) < i {
			return fmt.Sprintf("axis %s is there twice: %s", a.Name, remedy)
		}
	}
	if n := m.Size(); n != want.Size() {
		return fmt.Sprintf("it has %d ranks, the strategies %d: %s", n, want.Size(), remedy)
	}
	return remedy
}
