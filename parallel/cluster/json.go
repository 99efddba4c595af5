package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Schema names the version of the JSON form.
const Schema = "galvani/cluster/v1"

// fields is Cluster without methods.
type fields Cluster

// file is the JSON form.
type file struct {
	Schema string `json:"schema"`
	*fields
}

// MarshalJSON gives the JSON form.
func (c *Cluster) MarshalJSON() ([]byte, error) {
	return json.Marshal(file{Schema, (*fields)(c)})
}

// UnmarshalJSON reads what [Parse] does.
func (c *Cluster) UnmarshalJSON(data []byte) error {
	parsed, err := Parse(data)
	if err == nil {
		*c = *parsed
	}
	return err
}

// Parse reads the JSON form strictly: another schema, an unknown key, a value
// that [Cluster.Validate] refuses, or anything after it is an error.
func Parse(data []byte) (*Cluster, error) {
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("cluster: %d bytes are too many: at most %d are read", len(data), maxFileBytes)
	}
	var version struct{ Schema string }
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if version.Schema != Schema {
		return nil, &ValueError{"schema", fmt.Sprintf("%.100q", version.Schema), fmt.Sprintf("this version reads %q", Schema)}
	}
	c := &Cluster{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file{fields: (*fields)(c)}); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("cluster: there is something after the cluster: remove it")
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}
