package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
)

// doctorCmd is `galvani doctor`.
type doctorCmd struct {
	JSON bool `help:"Print the result as JSON."`
}

// finding is one thing that a machine has or lacks.
type finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

// Run examines this machine.
func (c *doctorCmd) Run(s *streams) error {
	findings := []finding{processor(), goTool(), cache(), {"gpu", false, "this build has no GPU back end"}}
	if c.JSON {
		for _, f := range findings {
			if err := json.NewEncoder(s.out).Encode(f); err != nil {
				return err
			}
		}
		return nil
	}
	for _, f := range findings {
		mark := "ok"
		if !f.OK {
			mark = "--"
		}
		fmt.Fprintf(s.out, "%s  %-10s %s\n", mark, f.What, f.Text)
	}
	return nil
}

func processor() finding {
	f := finding{What: "processor", OK: true}
	f.Text = fmt.Sprintf("%s/%s, %d threads, kernels for %v of %v", runtime.GOOS, runtime.GOARCH,
		runtime.GOMAXPROCS(0), kernel.ActiveISA(), kernel.ISAs())
	if err := kernel.StartError(); err != nil {
		f.OK, f.Text = false, err.Error()
	}
	return f
}

// goTool looks for the Go tool chain, which --data go-std needs.
func goTool() finding {
	out, err := exec.Command("go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return finding{"go", false, "no go command: --data go-std, the default, needs the source of the Go standard library"}
	}
	lines := strings.Fields(string(out))
	return finding{"go", true, strings.Join(lines, ", ") + ": --data go-std reads it"}
}

// cache looks whether token files can be kept.
func cache() finding {
	dir, err := os.UserCacheDir()
	if err == nil {
		dir = filepath.Join(dir, "galvani")
		err = os.MkdirAll(dir, 0o777)
	}
	if err != nil {
		return finding{"cache", false, err.Error()}
	}
	return finding{"cache", true, dir + ": tokenizers and token files"}
}
