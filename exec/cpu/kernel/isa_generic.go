//go:build !amd64

package kernel

import "runtime"

func available() []*inner { return []*inner{genericInner} }

// pause lets a spinning worker's processor rest a little.
func pause(int) { runtime.Gosched() }
