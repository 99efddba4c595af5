package comm

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// shmCan reports whether segments can be made here.
func shmCan() bool {
	return littleEndian && unix.Access(shmDir, unix.W_OK) == nil
}

// shmFiles are the files by which one rank offers shared memory: they exist from
// the offer until all ranks have opened them.
type shmFiles struct{ dir string }

func newShmFiles() (shmFiles, error) {
	dir := filepath.Join(shmDir, "galvani-"+rand.Text())
	return shmFiles{dir}, os.Mkdir(dir, 0o700)
}

func (f shmFiles) rings() string { return filepath.Join(f.dir, "rings") }
func (f shmFiles) bell() string  { return filepath.Join(f.dir, "bell") }
func (f shmFiles) arena() string { return filepath.Join(f.dir, "arena") }

// remove takes the names away; what is mapped stays.
func (f shmFiles) remove() {
	if f.dir != "" {
		_ = os.RemoveAll(f.dir) // what is left is empty memory with a name
	}
}

// create makes a segment of zeros. Memory that cannot be had is an error here, not
// a signal later.
func (f shmFiles) create(path string, bytes int) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Fallocate(fd, 0, 0, int64(bytes)); err != nil {
		return fmt.Errorf("%s: %d bytes of shared memory: %w", path, bytes, err)
	}
	return nil
}

// createHole makes a segment that has no memory yet, and keeps it open.
func createHole(path string, bytes int64) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	if err := unix.Ftruncate(fd, bytes); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %d bytes of addresses: %w", path, bytes, err)
	}
	return fd, nil
}

// reserveSegment has memory given to part of a segment: none later is an error
// here, not a signal.
func reserveSegment(fd int, offset, bytes int64) error { return unix.Fallocate(fd, 0, offset, bytes) }

func closeSegment(fd int) { _ = unix.Close(fd) } // a descriptor opened here

// mapSegment maps part of a segment.
func mapSegment(path string, offset int64, bytes int) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if stat.Size < offset+int64(bytes) || int(stat.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s: %d bytes of user %d, want %d of this user's", path, stat.Size, stat.Uid, offset+int64(bytes))
	}
	memory, err := unix.Mmap(fd, offset, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: mapping it: %w", path, err)
	}
	return memory, nil
}

func unmapSegment(memory []byte) { _ = unix.Munmap(memory) } // fails only for what Mmap did not return

// newBell makes the pipe that other processes ring, and opens its end to listen.
func newBell(path string) (*os.File, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	// Open for both: reading never ends for lack of writers.
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openBell opens another process's bell to ring it.
func openBell(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	return fd, nil
}

var ringByte = []byte{1}

// ringBell wakes the process that listens. A full pipe has rung already, and one
// without listener belongs to a process that has ended, which its lease tells.
func ringBell(fd int) { _, _ = unix.Write(fd, ringByte) }

func closeBell(fd int) { _ = unix.Close(fd) } // a descriptor opened here
