package launch

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/comm"
)

// FuzzInvite shows that no invitation panics, and that errors repeat nothing of
// it.
func FuzzInvite(f *testing.F) {
	good, err := json.Marshal(invite{Server: comm.Endpoint{URL: "nats://a:1", Seed: "SUSECRET"}, Job: comm.Job{ID: "a", Epoch: 1}, Rank: 2, Version: "v"})
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{string(good) + "\n", string(good), "null\n", "{}\n", `{"Rank":-5}` + "\n", `{"Server":{"Seed":1234567890123}}` + "\n", `"SUSECRET` + "\n", strings.Repeat("x", maxInvite+9)} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		line, err := readLine(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			return
		}
		if len(line) > maxInvite {
			t.Fatalf("a line of %d bytes", len(line))
		}
		if _, err := decodeInvite(line); err != nil && len(err.Error()) > 100 {
			t.Fatalf("error repeats what it read: %v", err)
		}
	})
}

// FuzzAssignment shows that a job is of a known kind or refused.
func FuzzAssignment(f *testing.F) {
	for _, text := range []string{`{"Kind":"train","Spec":{"Config":{}}}`, `{"Kind":"train"}`, `{"Kind":""}`, `null`, `{"Kind":7}`} {
		f.Add([]byte(text))
	}
	services := map[string]Service{"train": func(context.Context, *comm.Member, []byte) error { return nil }}
	f.Fuzz(func(t *testing.T, text []byte) {
		if service, _, err := decodeAssignment(text, services); (service == nil) == (err == nil) {
			t.Fatalf("service %v, error %v", service != nil, err)
		}
	})
}

// TestInvitationsStaySecret looks for what was read in errors.
func TestInvitationsStaySecret(t *testing.T) {
	for _, text := range []string{
		`{"Server":{"Seed":"SUSECRET"` + "\n", `{"Server":{"URL":"nats://u:SUSECRET@[:1"}}` + "\n", `{"Server":{"URL":"nats://127.0.0.1:1","Seed":"SUSECRET"}}` + "\n",
		`{"Server":"SUSECRET"}` + "\n", `SUSECRET` + "\n", `{"Rank":"SUSECRET"}` + "\n",
	} {
		err := Work(t.Context(), io.MultiReader(strings.NewReader(text)), nil)
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%.30s: %v", text, err)
		}
	}
}
