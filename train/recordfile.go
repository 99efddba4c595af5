package train

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
)

// A record file begins with a line "galvani record 1", whose number is that of
// the format. The rest is sections, written as a step goes:
//
//	length of the label   uint32
//	length of the content uint64
//	label
//	content               JSON, or the elements of a tensor, float32 or int32
//	CRC32C of the above   uint32
//
// Numbers are little-endian. The sections are, in this order:
//
//	step                            a recordHead
//	before/PARAMETER, before/PARAMETER.exp_avg, before/PARAMETER.exp_avg_sq
//	input/MICRO-BATCH/NAME
//	received/MESSAGE
//	after/PARAMETER, ...
//	outcome                         a recordOutcome
const (
	recordMagic  = "galvani record "
	recordFormat = "1"
)

// Labels of the sections that are JSON.
const (
	sectionStep    = "step"
	sectionOutcome = "outcome"
)

// maxLabelBytes bounds a label; real ones are of some dozen bytes. maxJSONBytes
// bounds a section that is JSON; real ones are of some kilobytes.
const (
	maxLabelBytes = 1 << 12
	maxJSONBytes  = 16 << 20
)

// recordWriter writes a record from its beginning to its end.
type recordWriter struct{ w io.Writer }

func (r recordWriter) begin() error {
	_, err := io.WriteString(r.w, recordMagic+recordFormat+"\n")
	return err
}

// section writes a section whose content, of so many bytes, fill writes.
func (r recordWriter) section(label string, bytes int, fill func(io.Writer) error) error {
	sum := crc32.New(castagnoli)
	w := io.MultiWriter(r.w, sum)
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(label)))
	head = binary.LittleEndian.AppendUint64(head, uint64(bytes))
	if _, err := w.Write(append(head, label...)); err != nil {
		return err
	}
	if err := fill(w); err != nil {
		return err
	}
	_, err := r.w.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	return err
}

func (r recordWriter) json(label string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return r.section(label, len(text), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// element is what the tensors of a record are made of, 4 bytes wide.
type element interface{ int32 | float32 }

func writeTensor[E element](r recordWriter, label string, x []E) error {
	return r.section(label, 4*len(x), func(w io.Writer) error { return writeElements(w, x) })
}

// chunkElements is how many elements are converted at once.
const chunkElements = 1 << 13

func writeElements[E element](w io.Writer, x []E) error {
	var bytes [4 * chunkElements]byte
	for len(x) > 0 {
		n := min(len(x), chunkElements)
		if _, err := binary.Encode(bytes[:], binary.LittleEndian, x[:n]); err != nil {
			return err
		}
		if _, err := w.Write(bytes[:4*n]); err != nil {
			return err
		}
		x = x[n:]
	}
	return nil
}

// checksum is the CRC32C of the elements as a record has them.
func checksum(x []float32) uint32 {
	sum := crc32.New(castagnoli)
	_ = writeElements(sum, x) // a hash takes everything
	return sum.Sum32()
}

// recordFile is an open record, every byte of which has been checked.
type recordFile struct {
	path     string
	file     *os.File
	sections map[string]section
}

// section is where in the file a content lies, in bytes.
type section struct{ offset, size int64 }

// RecordError says what is wrong with a record.
type RecordError struct {
	Path string
	Err  error
}

// Error gives the path and the fault.
func (e *RecordError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap returns the fault.
func (e *RecordError) Unwrap() error { return e.Err }

func (f *recordFile) errorf(format string, args ...any) error {
	return &RecordError{f.path, fmt.Errorf(format, args...)}
}

// openRecord reads a record through. Errors about its content are a
// *RecordError.
func openRecord(path string) (_ *recordFile, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f := &recordFile{path: path, file: file, sections: map[string]section{}}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, f.errorf("not a regular file")
	}
	return f, f.scan(bufio.NewReaderSize(file, 1<<20), info.Size())
}

func (f *recordFile) close() { f.file.Close() }

// scan finds and checks all sections of a file of so many bytes.
func (f *recordFile) scan(r *bufio.Reader, size int64) error {
	line := make([]byte, len(recordMagic+recordFormat)+1)
	if _, err := io.ReadFull(r, line); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return f.errorf("%w", err)
	}
	format, ok := strings.CutPrefix(string(line), recordMagic)
	switch {
	case !ok:
		return f.errorf("not a record: `galvani train --record-step` writes them")
	case format != recordFormat+"\n":
		return f.errorf("a record of format %q, this version reads %s: replay it with the version that recorded it", strings.TrimSpace(format), recordFormat)
	}
	at := int64(len(line))
	last := ""
	for at < size {
		label, s, err := f.readSection(r, at, size)
		if err != nil {
			return err
		}
		if _, ok := f.sections[label]; ok || last == sectionOutcome {
			return f.errorf("damaged: section %q at byte %d is one too many", label, at)
		}
		f.sections[label] = s
		last, at = label, s.offset+s.size+4
	}
	if last != sectionOutcome {
		return f.errorf("truncated after %d bytes: record the step again", size)
	}
	return nil
}

// readSection reads the section at a byte of the file.
func (f *recordFile) readSection(r io.Reader, at, size int64) (string, section, error) {
	sum := crc32.New(castagnoli)
	checked := io.TeeReader(r, sum)
	var head [12]byte
	if _, err := io.ReadFull(checked, head[:]); err != nil {
		return "", section{}, f.cut(at, err)
	}
	label, bytes := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint64(head[4:])
	if label > maxLabelBytes {
		return "", section{}, f.errorf("damaged at byte %d: a label of %d bytes", at, label)
	}
	s := section{offset: at + int64(len(head)) + int64(label)}
	if left := size - s.offset - 4; left < 0 || bytes > uint64(left) {
		return "", section{}, f.cut(at, io.ErrUnexpectedEOF)
	}
	s.size = int64(bytes)
	text := make([]byte, label)
	if _, err := io.ReadFull(checked, text); err != nil {
		return "", section{}, f.cut(at, err)
	}
	if _, err := io.CopyN(sum, r, s.size); err != nil {
		return "", section{}, f.cut(at, err)
	}
	var want [4]byte
	if _, err := io.ReadFull(r, want[:]); err != nil {
		return "", section{}, f.cut(at, err)
	}
	if got := sum.Sum32(); got != binary.LittleEndian.Uint32(want[:]) {
		return "", section{}, f.errorf("damaged: section %q at byte %d has CRC32C %08x, not %08x: record the step again",
			text, at, got, binary.LittleEndian.Uint32(want[:]))
	}
	return string(text), s, nil
}

// cut describes a file that ends, or cannot be read, in the section at a byte.
func (f *recordFile) cut(at int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return f.errorf("truncated or damaged: it ends within the section at byte %d: record the step again", at)
	}
	return f.errorf("%w", err)
}

// json decodes the section of that label.
func (f *recordFile) json(label string, v any) error {
	s, ok := f.sections[label]
	if !ok {
		return f.errorf("has no section %q", label)
	}
	if s.size > maxJSONBytes {
		return f.errorf("section %q has %d bytes, at most %d are read", label, s.size, maxJSONBytes)
	}
	if err := json.NewDecoder(io.NewSectionReader(f.file, s.offset, s.size)).Decode(v); err != nil {
		return f.errorf("section %q: %w", label, err)
	}
	return nil
}

// readTensor fills x from the section of that label.
func readTensor[E element](f *recordFile, label string, x []E) error {
	return eachChunk(f, label, len(x), func(first int, chunk []E) { copy(x[first:], chunk) })
}

// eachChunk passes a tensor of size elements to visit, some at a time, with the
// number of the first of them.
func eachChunk[E element](f *recordFile, label string, size int, visit func(first int, chunk []E)) error {
	s, ok := f.sections[label]
	if !ok {
		return f.errorf("has no tensor %q", label)
	}
	if s.size != 4*int64(size) {
		return f.errorf("tensor %q has %d bytes, this version needs %d", label, s.size, 4*int64(size))
	}
	r := io.NewSectionReader(f.file, s.offset, s.size)
	var bytes [4 * chunkElements]byte
	chunk := make([]E, min(size, chunkElements))
	for first := 0; first < size; first += len(chunk) {
		chunk = chunk[:min(len(chunk), size-first)]
		if _, err := io.ReadFull(r, bytes[:4*len(chunk)]); err != nil {
			return f.errorf("tensor %q: %w", label, err)
		}
		if _, err := binary.Decode(bytes[:], binary.LittleEndian, chunk); err != nil {
			return f.errorf("tensor %q: %w", label, err)
		}
		visit(first, chunk)
	}
	return nil
}
