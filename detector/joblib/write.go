package joblib

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
)

// What Write takes beside the values that Read gives. Numbers of other Go types,
// *big.Int and instances that have no state are not written.
type (
	// Int64 and Float64 are numpy's scalars.
	Int64   int64
	Float64 float64

	// Lazy is a value that is made when its turn comes, and need not stay.
	Lazy func() any
)

// level is zlib's, and joblib's compress=3.
const level = 3

// maxNesting is how deep in one another values may stand that are written: they may
// not contain themselves.
const maxNesting = 64

// frameTarget is the size at which a frame is closed, in bytes; smaller ones than
// frameLeast are not marked as frames.
const (
	frameTarget = 64 << 10
	frameLeast  = 4
)

// Write writes v as joblib.dump(v, w, compress=3) does, in pickle protocol 4: what
// joblib 1.2 and newer read, with any numpy. It streams; memory is one frame, one array
// of v, and the names in it.
func Write(w io.Writer, v any) error {
	z, err := zlib.NewWriterLevel(w, level)
	if err != nil {
		return fmt.Errorf("write joblib: %w", err)
	}
	out := &counter{w: z}
	if err := newEncoder(out).dump(v); err != nil {
		return fmt.Errorf("write joblib: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write joblib: %w", err)
	}
	return nil
}

// counter knows its position, which arrays are aligned to.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// encoder writes one pickle.
type encoder struct {
	out   *counter
	frame bytes.Buffer
	// memo has the number under which a string, a Global or a type was memoised: a
	// typeKey, or a *DType that is a record.
	memo    map[any]uint32
	nesting int
}

func newEncoder(out *counter) *encoder {
	return &encoder{out: out, memo: map[any]uint32{}}
}

func (e *encoder) dump(v any) error {
	if _, err := e.out.Write([]byte{0x80, 4}); err != nil {
		return err
	}
	if err := e.value(v); err != nil {
		return err
	}
	e.op('.')
	return e.flush()
}

// flush ends the frame.
func (e *encoder) flush() error {
	if n := e.frame.Len(); n >= frameLeast {
		head := binary.LittleEndian.AppendUint64([]byte{0x95}, uint64(n))
		if _, err := e.out.Write(head); err != nil {
			return err
		}
	}
	_, err := e.frame.WriteTo(e.out)
	return err
}

func (e *encoder) op(b ...byte) { e.frame.Write(b) }

// known writes what was written before as a reference to it.
func (e *encoder) known(v any) bool {
	at, ok := e.memo[v]
	switch {
	case !ok:
	case at < 256:
		e.op('h', byte(at))
	default:
		e.frame.Write(binary.LittleEndian.AppendUint32([]byte{'j'}, at))
	}
	return ok
}

func (e *encoder) memoize(v any) {
	e.memo[v] = uint32(len(e.memo))
	e.op(0x94)
}
