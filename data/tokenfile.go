package data

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// A token file is a header of 64 bytes, then the ids, all little-endian.
const (
	headerSize   = 64
	tokenVersion = 1
	tokenExt     = ".tokens"
)

var (
	tokenMagic = [8]byte{'G', 'A', 'L', 'V', 'T', 'O', 'K', '\n'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// header opens a token file. HeaderCRC is over the bytes before it.
type header struct {
	Magic     [8]byte
	Version   uint32
	Width     uint32 // bytes an id: 2 or 4
	Count     uint64 // ids
	IDsCRC    uint32 // CRC-32C
	_         [32]byte
	HeaderCRC uint32
}

func (h header) marshal() []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, h) // a Buffer takes every write
	raw := b.Bytes()
	binary.LittleEndian.PutUint32(raw[headerSize-4:], crc32.Checksum(raw[:headerSize-4], castagnoli))
	return raw
}

// readTokenFile checks the header and the size. The ids' checksum is left to verify.
func readTokenFile(t *Tokens) error {
	size := int64(len(t.data))
	if size < headerSize {
		return &CorruptError{t.path, headerSize, size, "too short for a token file"}
	}
	var h header
	if _, err := binary.Decode(t.data, binary.LittleEndian, &h); err != nil {
		return fmt.Errorf("data: %s: %w", t.path, err)
	}
	switch {
	case h.Magic != tokenMagic:
		return fmt.Errorf("data: %s: not a token file (no GALVTOK header); a file of raw uint16 tokens must end in .bin", t.path)
	case h.Version != tokenVersion:
		return fmt.Errorf("data: %s: token file of version %d; this program reads version %d: tokenize the text again", t.path, h.Version, tokenVersion)
	case h.HeaderCRC != crc32.Checksum(t.data[:headerSize-4], castagnoli):
		return fmt.Errorf("data: %s: the header's checksum is wrong: delete the file and tokenize the text again", t.path)
	case h.Width != 2 && h.Width != 4, h.Count > 1<<56:
		return fmt.Errorf("data: %s: header says %d ids of %d bytes", t.path, h.Count, h.Width)
	}
	if want := headerSize + int64(h.Count)*int64(h.Width); want != size {
		return &CorruptError{t.path, want, size, "size of the token file"}
	}
	t.data, t.width, t.count = t.data[headerSize:], width(h.Width), int(h.Count)
	t.check = func() error {
		if got := crc32.Checksum(t.data, castagnoli); got != h.IDsCRC {
			return fmt.Errorf("data: %s: checksum of the ids is %08x, want %08x: delete the file and tokenize the text again", t.path, got, h.IDsCRC)
		}
		return nil
	}
	return nil
}

// Verify reads the whole file and checks its checksum, where it has one.
func (t *Tokens) Verify() error { return t.check() }

// tokenWriter appends ids to a token file.
type tokenWriter struct {
	file   io.WriteSeeker
	buf    *bufio.Writer
	header header
	raw    []byte
}

// newTokenWriter leaves room for the header, which close writes.
func newTokenWriter(file io.WriteSeeker, vocabSize int) (*tokenWriter, error) {
	w := &tokenWriter{file: file, buf: bufio.NewWriterSize(file, 1<<16)}
	w.header = header{Magic: tokenMagic, Version: tokenVersion, Width: 2}
	if vocabSize > 1<<16 {
		w.header.Width = 4
	}
	_, err := w.buf.Write(make([]byte, headerSize))
	return w, err
}

func (w *tokenWriter) write(ids []int) error {
	w.raw = w.raw[:0]
	for _, id := range ids {
		if w.header.Width == 2 {
			w.raw = binary.LittleEndian.AppendUint16(w.raw, uint16(id))
		} else {
			w.raw = binary.LittleEndian.AppendUint32(w.raw, uint32(id))
		}
	}
	w.header.Count += uint64(len(ids))
	w.header.IDsCRC = crc32.Update(w.header.IDsCRC, castagnoli, w.raw)
	_, err := w.buf.Write(w.raw)
	return err
}

func (w *tokenWriter) close() error {
	if err := w.buf.Flush(); err != nil {
		return err
	}
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := w.file.Write(w.header.marshal())
	return err
}
