package profile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/cpu/probe"
)

// revision is that of how this package measures. Results of another are
// measured anew.
const revision = 2

// key is what a result holds for.
type key struct {
	Revision  int
	Processor string
	System    string // as linux/amd64
	ISA       string // the kernels in use
	Threads   int    // of the machine, as far as this process may use them
	Workers   int
	Server    string // URL without secrets, empty for an embedded one
	Network   string // empty for the machine's own
	Spec      spec
}

func keyOf(o Options, s spec) key {
	server := o.NATS
	if server != "" {
		server = comm.Endpoint{URL: server}.String()
	}
	return key{
		Revision: revision, Processor: probe.Processor(), System: runtime.GOOS + "/" + runtime.GOARCH,
		ISA: string(kernel.ActiveISA()), Threads: runtime.GOMAXPROCS(0), Workers: o.Workers, Server: server, Network: o.Network, Spec: s,
	}
}

// path is where the result lies in the cache.
func (k key) path(dir string) (string, error) { return cached(dir, "hardware", k) }

// cached is the file of a result in the cache, whose directory it makes: dir, or
// where that is empty one in the user's cache.
func cached(dir, name string, key any) (string, error) {
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("profile: no cache directory: %w: set HOME or XDG_CACHE_HOME", err)
		}
		dir = filepath.Join(base, "galvani", "profiles")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("profile: cache: %w", err)
	}
	text, err := json.Marshal(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return filepath.Join(dir, name+"-"+hex.EncodeToString(sum[:8])+".json"), nil
}
