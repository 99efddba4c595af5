//go:build !linux

package comm

import (
	"errors"
	"os"
)

var errNoShm = errors.New("shared memory is for Linux here")

func shmCan() bool { return false }

type shmFiles struct{ dir string }

func newShmFiles() (shmFiles, error)                { return shmFiles{}, errNoShm }
func (shmFiles) rings() string                      { return "" }
func (shmFiles) bell() string                       { return "" }
func (shmFiles) remove()                            {}
func (shmFiles) create(string, int) error           { return errNoShm }
func mapSegment(string, int64, int) ([]byte, error) { return nil, errNoShm }
func unmapSegment([]byte)                           {}
func newBell(string) (*os.File, error)              { return nil, errNoShm }
func openBell(string) (int, error)                  { return -1, errNoShm }
func ringBell(int)                                  {}
func closeBell(int)                                 {}

func (shmFiles) arena() string               { return "" }
func createHole(string, int64) (int, error)  { return -1, errNoShm }
func reserveSegment(int, int64, int64) error { return errNoShm }
func closeSegment(int)                       {}
