package joblib

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/pierrec/lz4/v4"
)

// The bounds of unpacking. It takes time in proportion to the bytes of the file, at most
// maxRatio times as many come out, and nothing else is allocated than those and the
// window; so whoever stops the reader below stops the unpacking.
const (
	// firstLook is how much is read before refuses is asked for the first time, in
	// bytes; it is asked again whenever there is moreLook times as much.
	firstLook = 64 << 10
	moreLook  = 64
	// maxRatio is how many bytes may come out for one that goes in, maxStart how many
	// in any case. Forests are packed to a third or a tenth, if they do not repeat.
	maxRatio = 20
	maxStart = 8 << 20
	// maxWindow is how far back xz and lzma may refer, in bytes: what their strongest
	// setting takes.
	maxWindow = 64 << 20
)

// containerOf tells what a file is packed in by its first bytes, never by its name.
func containerOf(head []byte) string {
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
		return "ZF"
	}
	return "none"
}

// unpack reads all of r and takes off the one layer of compression that there may be,
// whose name it tells. Nothing may follow it: readers that stop there and readers that
// go on would see different files. It gives up as soon as refuses has an error for what
// was unpacked so far.
func unpack(r io.Reader, limit int64, refuses func(beginning []byte) error) (data []byte, name string, err error) {
	in := newSource(r)
	head, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, "", err
	}
	name = containerOf(head)
	if name == "none" {
		data, err = readAll(in, in, limit, refuses)
		return data, name, err
	}
	if name == "ZF" {
		return nil, name, fmt.Errorf("%w: written by joblib older than 0.10; load it there and dump it again", ErrUnsupported)
	}
	packed, err := in.open(name, limit)
	if err != nil {
		return nil, name, in.blame(fmt.Errorf("%w: packed by %s: %w", ErrNoPickle, name, err))
	}
	// To the end, where the checksum is looked at.
	data, err = readAll(packed, in, limit, refuses)
	if err != nil {
		if _, refused := errors.AsType[*refusal](err); refused || errors.Is(err, ErrTooLarge) {
			return nil, name, err
		}
		return nil, name, in.blame(fmt.Errorf("%w: packed by %s: %w", ErrMalformed, name, err))
	}
	if _, err := in.ReadByte(); err == nil {
		return nil, name, fmt.Errorf("%w: bytes after the compressed data", ErrMalformed)
	} else if err != io.EOF {
		return nil, name, err
	}
	return data, name, nil
}

// source is a file that counts how much of it was read, and remembers the error of the
// reader below, to tell a damaged file from one that could not be read.
type source struct {
	*bufio.Reader
	below *below
}

type below struct {
	r   io.Reader
	n   int64
	err error
}

func newSource(r io.Reader) *source {
	b := &below{r: r}
	return &source{bufio.NewReaderSize(b, firstLook), b}
}

func (b *below) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

func (s *source) blame(err error) error {
	if s.below.err != nil {
		return s.below.err
	}
	return err
}

// allows is how many bytes may have come out by now.
func (s *source) allows() int64 { return maxStart + maxRatio*s.below.n }

// window is the memory for the window that a file asks for: no larger than what can
// come out of it at all.
func (s *source) window(asked, limit int64) (int64, error) {
	if asked > maxWindow {
		return 0, fmt.Errorf("%w: a window of %d bytes, more than %d", ErrTooLarge, asked, int64(maxWindow))
	}
	most := limit
	if _, err := s.Peek(firstLook); err == io.EOF {
		most = min(most, s.allows())
	}
	return min(asked, most), nil
}

func (s *source) open(name string, limit int64) (io.Reader, error) {
	switch name {
	case "zlib":
		return zlib.NewReader(s.Reader)
	case "gzip":
		z, err := gzip.NewReader(s.Reader)
		if err == nil {
			z.Multistream(false)
		}
		return z, err
	case "bz2": // a second stream is read as Python does: as more of the pickle
		return bzip2.NewReader(s), nil
	case "xz":
		return newXZ(s, limit)
	case "lzma":
		return newLZMA(s, limit)
	default:
		z := lz4.NewReader(s)
		return z, z.Apply(lz4.ConcurrencyOption(1))
	}
}

// refusal is an error of what was unpacked, not of the unpacking.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// readAll reads r, which unpacks in, and allocates as the bytes come: in all, three times
// as many at most, and 1 MiB.
func readAll(r io.Reader, in *source, limit int64, refuses func([]byte) error) ([]byte, error) {
	var chunks [][]byte
	var n int64
	for look := int64(firstLook); ; look *= moreLook {
		look = min(look, limit)
		for n < look {
			// What is allowed grows with what was read.
			room := min(look, in.allows()) - n
			if room <= 0 {
				return nil, fmt.Errorf("%w: %d bytes out of %d", ErrTooLarge, n, in.below.n)
			}
			chunk, err := readChunk(r, min(room, max(n, firstLook), 1<<20))
			chunks = append(chunks, chunk)
			n += int64(len(chunk))
			if err == io.EOF {
				return slices.Concat(chunks...), nil
			}
			if err != nil {
				return nil, err
			}
		}
		more, err := readChunk(r, 1)
		switch {
		case err == io.EOF && len(more) == 0:
			return slices.Concat(chunks...), nil
		case err != nil && err != io.EOF:
			return nil, err
		case look == limit:
			return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		data := slices.Concat(chunks...)
		if err := refuses(data); err != nil {
			return nil, &refusal{err}
		}
		chunks = [][]byte{data, more}
		n += int64(len(more))
	}
}

// readChunk reads n bytes, or those that there are before an error; io.EOF may come with
// the last of them, or behind.
func readChunk(r io.Reader, n int64) ([]byte, error) {
	chunk := make([]byte, n)
	for at := 0; ; {
		k, err := r.Read(chunk[at:])
		if at += k; err != nil || at == len(chunk) {
			return chunk[:at], err
		}
	}
}
