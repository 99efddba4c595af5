package profile

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// memoryBytes is the memory of this machine, or of the control group that this
// process is in, where that may use less.
func memoryBytes() (int64, error) { return memoryUnder(os.DirFS("/")) }

func memoryUnder(root fs.FS) (int64, error) {
	bytes, err := physicalBytes(root)
	if err != nil {
		return 0, err
	}
	for _, file := range limitFiles(root) {
		text, err := fs.ReadFile(root, file)
		if err != nil {
			continue // there is no such limit
		}
		// The word max, of no limit, is no number.
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
			bytes = min(bytes, n)
		}
	}
	return bytes, nil
}

// physicalBytes reads MemTotal of proc(5).
func physicalBytes(root fs.FS) (int64, error) {
	f, err := root.Open("proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "MemTotal:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo: has no MemTotal")
}

// limitFiles are those of this process's control group and of the groups above
// it, of both versions; see cgroups(7).
func limitFiles(root fs.FS) (files []string) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3) // number:controllers:path
		if len(part) < 3 {
			continue
		}
		dir, file := "sys/fs/cgroup", "memory.max"
		switch controllers := "," + part[1] + ","; {
		case strings.Contains(controllers, ",memory,"):
			dir, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		case part[1] != "":
			continue
		}
		for p := path.Clean("/" + part[2]); ; p = path.Dir(p) {
			files = append(files, path.Join(dir, p, file))
			if p == "/" {
				break
			}
		}
	}
	return files
}
