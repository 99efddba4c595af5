package profile

import (
	"testing"
	"testing/fstest"
)

func TestMemory(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	meminfo := file("MemTotal:       16384 kB\nMemFree:         1024 kB\n")
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want int64
	}{
		{"no limit", fstest.MapFS{"proc/meminfo": meminfo}, 16 << 20},
		{"second version", fstest.MapFS{
			"proc/meminfo": meminfo, "proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("max\n"), "sys/fs/cgroup/a/memory.max": file("4194304\n"),
		}, 4 << 20},
		{"first version", fstest.MapFS{
			"proc/meminfo": meminfo, "proc/self/cgroup": file("9:cpu,cpuacct:/\n4:memory:/c\n1:name=systemd:/\n"),
			"sys/fs/cgroup/memory/c/memory.limit_in_bytes": file("2097152\n"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n"),
		}, 2 << 20},
	} {
		if got, err := memoryUnder(c.root); err != nil || got != c.want {
			t.Errorf("%s: %d (%v), want %d", c.name, got, err, c.want)
		}
	}
	if _, err := memoryUnder(fstest.MapFS{"proc/meminfo": file("nothing\n")}); err == nil {
		t.Error("no error without MemTotal")
	}
}
