package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the expected output in scripts")

// envMain makes this test binary, and the workers it starts, the program.
const envMain = "GALVANI_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(envMain) != "" {
		main()
		return
	}
	if address := os.Getenv("GALVANI_TEST_NATS"); address != "" {
		serveNATS(address)
		return
	}
	testscript.Main(m, map[string]func(){"galvani": main})
}

// TestScripts runs the command line as a person would.
func TestScripts(t *testing.T) {
	shared := sharedDir()
	cache := t.TempDir() // one for all scripts: tokenizing go-std takes seconds
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CACHE_HOME", cache)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("SHARED", shared)
			for _, name := range []string{"GOCACHE", "GOPATH", "GOROOT", "GOMODCACHE"} {
				if v, ok := os.LookupEnv(name); ok {
					e.Setenv(name, v)
				}
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "shared" {
				return shared != "", nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"losses":   cmdLosses,
			"logits":   cmdLogits,
			"truncate": cmdTruncate,
			"garble":   cmdGarble,
			"flip":     cmdFlip,
			"tokens":   cmdTokens,
		},
	})
}

// sharedDir returns the directory of cases and data that may lie beside the
// repository, empty if there is none.
func sharedDir() string {
	dir, err := filepath.Abs(filepath.Join("..", "..", "..", "shared"))
	if err != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(dir, "cases", "parity", "gpt2")); err != nil {
		return ""
	}
	return dir
}

// record is a line of a metrics file.
type record struct {
	Step     int     `json:"step"`
	Loss     float64 `json:"loss"`
	GradNorm float64 `json:"grad_norm"`
}

func readRecords(ts *testscript.TestScript, path string) []record {
	var records []record
	for line := range strings.Lines(ts.ReadFile(path)) {
		var r record
		ts.Check(json.Unmarshal([]byte(line), &r))
		records = append(records, r)
	}
	return records
}

// cmdLosses is `losses FILE EXPECTED LOSS-TOLERANCE [NORM-TOLERANCE]`: each
// step's loss, and gradient norm, are those expected, within a relative
// tolerance. A tolerance of 0 asks for equal bits.
func cmdLosses(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: losses FILE EXPECTED LOSS-TOLERANCE [NORM-TOLERANCE]")
	}
	got, want := readRecords(ts, args[0]), readRecords(ts, args[1])
	if len(got) != len(want) || len(got) == 0 {
		ts.Fatalf("%s has %d steps, %s %d", args[0], len(got), args[1], len(want))
	}
	near := func(what string, step int, got, want float64, tolerance string) {
		limit, err := strconv.ParseFloat(tolerance, 64)
		ts.Check(err)
		if !(math.Abs(got-want) <= limit*math.Abs(want)) {
			ts.Fatalf("step %d: %s %.9g, expected %.9g", step, what, got, want)
		}
	}
	for i, w := range want {
		if got[i].Step != w.Step {
			ts.Fatalf("line %d is of step %d, expected step %d", i+1, got[i].Step, w.Step)
		}
		near("loss", w.Step, got[i].Loss, w.Loss, args[2])
		if len(args) > 3 {
			near("gradient norm", w.Step, got[i].GradNorm, w.GradNorm, args[3])
		}
	}
}

// cmdLogits is `logits FILE EXPECTED TOLERANCE`: two NumPy files of float32 hold
// the same shape and, within an absolute tolerance, the same values.
func cmdLogits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: logits FILE EXPECTED TOLERANCE")
	}
	gotShape, got := readNPY(ts, args[0])
	wantShape, want := readNPY(ts, args[1])
	if gotShape != wantShape || len(got) != len(want) {
		ts.Fatalf("%s has shape %s, %s %s", args[0], gotShape, args[1], wantShape)
	}
	limit, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	for i := range want {
		if !(math.Abs(float64(got[i]-want[i])) <= limit) {
			ts.Fatalf("element %d is %g, expected %g", i, got[i], want[i])
		}
	}
}

// readNPY reads a NumPy file of version 1 and little-endian float32.
func readNPY(ts *testscript.TestScript, path string) (shape string, x []float32) {
	text := []byte(ts.ReadFile(path))
	const fixed = 10
	if len(text) < fixed || string(text[:8]) != "\x93NUMPY\x01\x00" {
		ts.Fatalf("%s is no NumPy file", path)
	}
	end := fixed + int(binary.LittleEndian.Uint16(text[8:]))
	if end%64 != 0 {
		ts.Fatalf("%s: data starts at byte %d, NumPy aligns it to 64", path, end)
	}
	header := string(text[fixed:end])
	if !strings.Contains(header, "'descr': '<f4'") || !strings.Contains(header, "'fortran_order': False") {
		ts.Fatalf("%s: header %s", path, header)
	}
	_, shape, _ = strings.Cut(header, "'shape': ")
	shape, _, _ = strings.Cut(shape, ")")
	for data := text[end:]; len(data) > 0; data = data[4:] {
		x = append(x, math.Float32frombits(binary.LittleEndian.Uint32(data)))
	}
	return shape, x
}

// offset reads a position in a file; negative ones count from its end.
func offset(ts *testscript.TestScript, text string, size int) int {
	at, err := strconv.Atoi(text)
	ts.Check(err)
	if at < 0 {
		at += size
	}
	return at
}

// cmdTruncate is `truncate FILE SIZE`.
func cmdTruncate(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, int64(offset(ts, args[1], int(info.Size())))))
}

// cmdGarble is `garble FILE OFFSET`: it flips the bits of one byte.
func cmdGarble(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	text, err := os.ReadFile(path)
	ts.Check(err)
	text[offset(ts, args[1], len(text))] ^= 0xff
	ts.Check(os.WriteFile(path, text, 0o666))
}

// cmdFlip is `flip RECORD LABEL OFFSET`: it flips the lowest bit of a byte of a
// section of a recorded step, and makes the section's checksum right again.
func cmdFlip(ts *testscript.TestScript, _ bool, args []string) {
	path, label := ts.MkAbs(args[0]), args[1]
	text, err := os.ReadFile(path)
	ts.Check(err)
	const head = 4 + 8 // lengths of label and content
	for at := bytes.IndexByte(text, '\n') + 1; at < len(text); {
		name := at + head
		content := name + int(binary.LittleEndian.Uint32(text[at:]))
		end := content + int(binary.LittleEndian.Uint64(text[at+4:]))
		if string(text[name:content]) == label {
			text[content:end][offset(ts, args[2], end-content)] ^= 1
			binary.LittleEndian.PutUint32(text[end:], crc32.Checksum(text[at:end], crc32.MakeTable(crc32.Castagnoli)))
			ts.Check(os.WriteFile(path, text, 0o666))
			return
		}
		at = end + 4
	}
	ts.Fatalf("%s has no section %q", path, label)
}

// cmdTokens is `tokens FILE ID...`: it writes a .bin of tokens.
func cmdTokens(ts *testscript.TestScript, _ bool, args []string) {
	var text []byte
	for _, arg := range args[1:] {
		id, err := strconv.ParseUint(arg, 10, 16)
		ts.Check(err)
		text = binary.LittleEndian.AppendUint16(text, uint16(id))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o666))
}
