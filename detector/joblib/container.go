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
// different files. It gives up as soon as refuses has an error for what was unpacked so far.
func unpack(r io.Reader, limit int64, refuses func(beginning []byte) error) ([]byte, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch name := container(head); name {
	case "":
		return readAll(in, limit, refuses)
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
	data, err := readAll(z, limit, refuses)
	if err != nil {
		if _, refused := errors.AsType[*refusal](err); refused || errors.Is(err, ErrTooLarge) {
			return nil, err
		}
		return nil, source.blame(err)
	}
	if _, err := in.ReadByte(); err == nil {
		return nil, fmt.Errorf("%w: bytes after the compressed data", ErrMalformed)
	} else if err != io.EOF {
		return nil, err
	}
	return data, nil
}

// refusal is an error of what was unpacked, not of the unpacking.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// firstLook is how much is read before refuses is asked for the first time, in bytes; it
// is asked again whenever there is four times as much.
const firstLook = 64 << 10

// readAll allocates as the bytes come.
func readAll(r io.Reader, limit int64, refuses func([]byte) error) ([]byte, error) {
	var data bytes.Buffer
	for size := int64(firstLook); ; size *= 4 {
		size = min(size, limit)
		_, err := io.CopyN(&data, r, size-int64(data.Len()))
		if err == io.EOF {
			return data.Bytes(), nil
		}
		if err != nil {
			return nil, err
		}
		var more [1]byte
		switch _, err := io.ReadFull(r, more[:]); {
		case err == io.EOF:
			return data.Bytes(), nil
		case err != nil:
			return nil, err
		case size == limit:
			return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		if err := refuses(data.Bytes()); err != nil {
			return nil, &refusal{err}
		}
		data.WriteByte(more[0])
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
