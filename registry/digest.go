package registry

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"modelbucket/blob"
)

// A file's SHA-256 is computed once, while it streams. Its pieces cost nothing more:
// SHA-256 is a chain (FIPS 180-4 §6.2), and the 32-byte chaining value after each piece
// is kept beside the digest. From the value before a piece and the piece itself follows
// the value after it, so that a part of a file can be verified without the rest. To
// forge a piece one would have to find a second preimage of SHA-256's own chain.

const (
	minPiece  = 8 << 20 // bytes; a multiple of SHA-256's block of 64
	maxPieces = 2048
)

// pieceSize cuts a file of at most limit bytes into at most maxPieces pieces.
func pieceSize(limit int64) int64 {
	size := int64(minPiece)
	for size*maxPieces < limit {
		size *= 2
	}
	return size
}

// chaining is the chaining value of h, which must stand at the end of a block. Go's
// encoding of a SHA-256 state is 4 bytes "sha\x03", the value, the block, the length.
func chaining(h hash.Hash) (string, error) {
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil || len(state) < 4+sha256.Size {
		return "", fmt.Errorf("state of SHA-256: %w", err)
	}
	return hex.EncodeToString(state[4 : 4+sha256.Size]), nil
}

// resume is a hash that goes on from a chaining value after n bytes.
func resume(value string, n int64) (hash.Hash, error) {
	raw, err := hex.DecodeString(value)
	if err != nil || len(raw) != sha256.Size {
		return nil, fmt.Errorf("no chaining value of SHA-256: %q", value)
	}
	h := sha256.New()
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, err
	}
	copy(state[4:], raw)
	for i := range 8 {
		state[len(state)-1-i] = byte(n >> (8 * i))
	}
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		return nil, err
	}
	return h, nil
}

// hashingReader digests what is read through it. before is asked ahead of each read;
// at the end of the body, or once it is longer than limit, done has the last word.
type hashingReader struct {
	body   io.Reader
	before func() error
	done   func(size int64, sum string) error
	limit  int64
	piece  int64

	hash   hash.Hash
	size   int64
	pieces []string
	err    error // final answer, given again
}

func (r *hashingReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.err = r.before(); r.err != nil {
		return 0, r.err
	}
	if r.hash == nil {
		r.hash = sha256.New()
	}
	n, err := r.body.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		m := min(int64(len(rest)), r.piece-r.size%r.piece)
		r.hash.Write(rest[:m])
		rest, r.size = rest[m:], r.size+m
		if r.size%r.piece == 0 {
			value, err := chaining(r.hash)
			if err != nil {
				r.err = err
				return 0, err
			}
			r.pieces = append(r.pieces, value)
		}
	}
	if r.size > r.limit {
		r.err = fmt.Errorf("%w: the file has more than the %d bytes that one may have here", ErrTooLarge, r.limit)
		return 0, r.err
	}
	if err == io.EOF {
		if err = r.done(r.size, r.sum()); err == nil {
			err = io.EOF
		}
	}
	r.err = err
	return n, err
}

func (r *hashingReader) sum() string {
	if r.hash == nil {
		r.hash = sha256.New()
	}
	return hex.EncodeToString(r.hash.Sum(nil))
}

// stored is what metadata.json says of the file that was read.
func (r *hashingReader) stored(name FileName) storedFile {
	f := storedFile{File: File{Name: name, Size: r.size, SHA256: r.sum()}}
	if r.size > r.piece {
		f.PieceSize, f.Pieces = r.piece, r.pieces
	}
	return f
}

// verifyingReader passes on what it has verified only: it reads a piece, checks its
// chaining value (or, at the file's end, its digest), and gives it out then. A piece
// that came wrong or cut off is read once more, as the damage may have been the line's.
type verifyingReader struct {
	open func(from, to int64) (io.ReadCloser, error)
	body io.ReadCloser // stands at pos; nil: to be opened
	key  string
	file storedFile

	pos   int64  // verified up to here
	end   int64  // of the last piece that is wanted
	skip  int64  // verified bytes not wanted
	want  int64  // bytes still to be given out
	piece []byte // buffer of one piece
	ready []byte // verified, not yet given out
	err   error
}

// newVerifyingReader reads want bytes of a file from offset on; open opens the bytes
// between two offsets of it.
func newVerifyingReader(key string, f storedFile, offset, want int64, open func(from, to int64) (io.ReadCloser, error)) (io.ReadCloser, error) {
	if f.PieceSize == 0 {
		f.PieceSize = f.Size
	} else if f.PieceSize < 0 || f.PieceSize%sha256.BlockSize != 0 || int64(len(f.Pieces)) != f.Size/f.PieceSize {
		return nil, corrupt(key, "its metadata names pieces that do not fit its size")
	}
	r := &verifyingReader{open: open, key: key, file: f, want: want}
	if f.Size > 0 {
		r.pos = offset / f.PieceSize * f.PieceSize
		r.skip = offset - r.pos
		r.end = min(f.Size, (offset+want+f.PieceSize-1)/f.PieceSize*f.PieceSize)
		r.piece = make([]byte, min(f.PieceSize, f.Size))
	}
	// Opened at once, so that an absent object is told before the first byte.
	var err error
	if r.body, err = open(r.pos, r.end); err != nil {
		return nil, err
	}
	if f.Size == 0 {
		return r, r.verify(nil)
	}
	return r, nil
}

func (r *verifyingReader) Read(p []byte) (int, error) {
	for len(r.ready) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.want == 0 {
			return 0, io.EOF
		}
		if r.err = r.fill(); r.err != nil {
			r.err = fmt.Errorf("read %s: %w", r.key, r.err)
		}
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// How often a piece may go wrong. What two answers have wrong is damage; one may be the
// line's fault, as may be an answer that breaks off.
const (
	maxWrong  = 2
	maxBroken = 3
)

// fill reads and verifies the next piece.
func (r *verifyingReader) fill() error {
	size := min(int64(len(r.piece)), r.file.Size-r.pos)
	piece := r.piece[:size]
	wrong, broken := 0, 0
	for err := r.attempt(piece); err != nil; err = r.attempt(piece) {
		switch {
		case errors.Is(err, ErrCorrupt):
			wrong++
		case errors.Is(err, blob.ErrUnavailable):
			broken++
		default:
			return err
		}
		if wrong == maxWrong || broken == maxBroken {
			return err
		}
		r.Close()
		r.body = nil
	}
	r.pos += size
	skip := min(r.skip, size)
	give := min(r.want, size-skip)
	r.ready = piece[skip : skip+give]
	r.skip -= skip
	r.want -= give
	return nil
}

func (r *verifyingReader) attempt(piece []byte) (err error) {
	if r.body == nil {
		if r.body, err = r.open(r.pos, r.end); err != nil {
			return err
		}
	}
	_, err = io.ReadFull(r.body, piece)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return fmt.Errorf("%w: the answer ended before all its bytes had come", blob.ErrUnavailable)
	case err != nil:
		return err
	}
	return r.verify(piece)
}

// verify checks the piece that begins at pos.
func (r *verifyingReader) verify(piece []byte) error {
	h := sha256.New()
	if r.pos > 0 {
		var err error
		if h, err = resume(r.file.Pieces[r.pos/r.file.PieceSize-1], r.pos); err != nil {
			return corrupt(r.key, "%v", err)
		}
	}
	h.Write(piece)
	end := r.pos + int64(len(piece))
	if end == r.file.Size {
		if hex.EncodeToString(h.Sum(nil)) != r.file.SHA256 {
			return corrupt(r.key, "its bytes do not have the SHA-256 that its metadata names")
		}
		return nil
	}
	value, err := chaining(h)
	if err == nil && value != r.file.Pieces[end/r.file.PieceSize-1] {
		err = corrupt(r.key, "bytes %d to %d do not have the SHA-256 that its metadata names", r.pos, end-1)
	}
	return err
}

func (r *verifyingReader) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
