package joblib

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
)

// container tells what a file is packed in by its first bytes, never by its name.
func container(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\x78")):
		return "zlib"
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "gzip"
	case bytes.HasPrefix(head, []byte("BZ")):
		return "bz2"
	case bytes.HasPrefix(head, []byte("\xfd7zXZ")):
		return "xz"
	case bytes.HasPrefix(head, []byte("\x5d\x00")):
		return "lzma"
	case bytes.HasPrefix(head, []byte("\x04\x22\x4d\x18")):
		return "lz4"
	case bytes.HasPrefix(head, []byte("ZF")):
		return "joblib older than 0.10"
	}
	return ""
}

// unpack reads all of r and takes off the one layer of compression that there may be.
// Nothing may follow it: readers that stop there and readers that go on would see
// different files.
func unpack(r io.Reader, limit int64) ([]byte, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch name := container(head); name {
	case "":
		return readAll(in, limit)
	case "zlib":
	default:
		return nil, fmt.Errorf("%w: it is packed by %s; dump it with compress=3", ErrUnsupported, name)
	}
	source := &source{Reader: in}
	z, err := zlib.NewReader(source)
	if err != nil {
		return nil, source.blame(err)
	}
	// To the end, where the checksum is looked at.
	data, err := readAll(z, limit)
	if errors.Is(err, ErrTooLarge) {
		return nil, err
	}
	if err != nil {
		return nil, source.blame(err)
	}
	if _, err := in.ReadByte(); err == nil {
		return nil, fmt.Errorf("%w: bytes after the compressed data", ErrMalformed)
	} else if err != io.EOF {
		return nil, err
	}
	return data, nil
}

// readAll allocates as the bytes come.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit))
	if err != nil {
		return nil, err
	}
	var more [1]byte
	switch _, err := io.ReadFull(r, more[:]); err {
	case io.EOF:
		return data, nil
	case nil:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	default:
		return nil, err
	}
}

// source remembers the error of the reader below the decompressor, to tell a damaged
// file from one that could not be read.
type source struct {
	*bufio.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.note(err)
	return n, err
}

func (s *source) ReadByte() (byte, error) {
	b, err := s.Reader.ReadByte()
	s.note(err)
	return b, err
}

func (s *source) note(err error) {
	if err != nil && err != io.EOF {
		s.err = err
	}
}

func (s *source) blame(err error) error {
	if s.err != nil {
		return s.err
	}
	return fmt.Errorf("%w: %v", ErrMalformed, err)
}
