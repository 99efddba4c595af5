package hf

// FileError says which file could not be read or written.
type FileError struct {
	Path string
	Err  error
}

// Error gives the path and the fault.
func (e *FileError) Error() string { return "models/hf: " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the fault.
func (e *FileError) Unwrap() error { return e.Err }
