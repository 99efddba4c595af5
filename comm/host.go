package comm

import (
	"net"
	"os"
	"strings"
)

// hostID tells hosts apart. Processes of one kernel with network namespaces of
// their own count as on different hosts: they have no loopback in common.
func hostID() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		name, _ := os.Hostname() // empty where there is none: all on one host
		return name
	}
	ns, _ := os.Readlink("/proc/self/ns/net") // empty on a kernel without namespaces
	return strings.TrimSpace(string(boot)) + " " + ns
}

// hostAddresses are the addresses under which other hosts may reach this one. A
// test replaces it.
var hostAddresses = func() ([]string, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			found = append(found, n.IP.String())
		}
	}
	return found, nil
}
