package joblib

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"
)

// newLZMA unpacks the old format of lzma: a head of properties, window (4 bytes) and
// length (8 bytes, or all ones). It has no checksum.
func newLZMA(s *source, limit int64) (io.Reader, error) {
	head, err := s.Peek(lzma.HeaderLen)
	if err != nil {
		return nil, short(err)
	}
	window, err := s.window(int64(binary.LittleEndian.Uint32(head[1:])), limit)
	if err != nil {
		return nil, err
	}
	// Where less will do, less is allocated.
	binary.LittleEndian.PutUint32(head[1:], uint32(window))
	return lzma.ReaderConfig{DictCap: max(int(window), lzma.MinDictCap)}.NewReader(s)
}

// xzStream unpacks an xz file: one stream of one block of LZMA2, as Python writes it.
// The parts around the block are read here, as each block of a file could ask for a
// window of its own. The format is tukaani.org/xz/xz-file-format.txt.
type xzStream struct {
	in     *source
	flags  [2]byte
	check  hash.Hash // nil: none
	head   int64     // bytes of the block's head
	packed *counted  // what the block's data are read from
	data   io.Reader
	n      int64 // unpacked
	sizes  [2]int64
	ended  bool
}

// counted counts what is read.
type counted struct {
	*source
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.source.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counted) ReadByte() (byte, error) {
	b, err := c.source.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

var errXZ = errors.New("damaged or of unusual form")

func newXZ(s *source, limit int64) (io.Reader, error) {
	x := &xzStream{in: s, packed: &counted{source: s}}
	var head [12]byte
	if _, err := io.ReadFull(s, head[:]); err != nil {
		return nil, short(err)
	}
	x.flags = [2]byte(head[6:8])
	if head[5] != 0 || head[6] != 0 || crc32.ChecksumIEEE(head[6:8]) != binary.LittleEndian.Uint32(head[8:]) {
		return nil, errXZ
	}
	switch head[7] {
	case 0:
	case 1:
		x.check = crc32.NewIEEE()
	case 4:
		x.check = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.check = sha256.New()
	default:
		return nil, fmt.Errorf("checksum %d is not known", head[7])
	}
	window, err := x.block()
	if err != nil {
		return nil, err
	}
	if window, err = s.window(window, limit); err != nil {
		return nil, err
	}
	x.data, err = lzma.Reader2Config{DictCap: max(int(window), lzma.MinDictCap)}.NewReader2(x.packed)
	return x, err
}

// block reads the head of the block, and the size of the window that it asks for.
func (x *xzStream) block() (window int64, err error) {
	size, err := x.in.ReadByte()
	if err != nil {
		return 0, short(err)
	}
	b := make([]byte, 4*(int(size)+1))
	b[0] = size
	if _, err := io.ReadFull(x.in, b[1:]); err != nil {
		return 0, short(err)
	}
	x.head = int64(len(b))
	b, sum := b[:len(b)-4], b[len(b)-4:]
	if size == 0 || crc32.ChecksumIEEE(b) != binary.LittleEndian.Uint32(sum) || b[1]&0x3f != 0 {
		return 0, errXZ
	}
	r := bytes.NewReader(b[2:])
	for i := range x.sizes {
		x.sizes[i] = -1
		if b[1]&(0x40<<i) != 0 {
			if x.sizes[i], err = readLength(r); err != nil {
				return 0, err
			}
		}
	}
	var filter [3]byte // LZMA2, one byte of properties: the window
	_, err = io.ReadFull(r, filter[:])
	rest := b[len(b)-r.Len():]
	if err != nil || filter[0] != 0x21 || filter[1] != 1 || filter[2] > 40 || bytes.Count(rest, []byte{0}) != len(rest) {
		return 0, errXZ
	}
	if filter[2] == 40 {
		return 1<<32 - 1, nil
	}
	return int64(2|filter[2]&1) << (filter[2]/2 + 11), nil
}

func (x *xzStream) Read(p []byte) (int, error) {
	if x.ended {
		return 0, io.EOF
	}
	n, err := x.data.Read(p)
	x.n += int64(n)
	if x.check != nil {
		x.check.Write(p[:n])
	}
	if err == io.EOF {
		if err = x.end(); err == nil {
			x.ended, err = true, io.EOF
		}
	}
	return n, err
}

// end reads what follows the block's data: its checksum, the index and the foot.
func (x *xzStream) end() error {
	if x.sizes[0] >= 0 && x.sizes[0] != x.packed.n || x.sizes[1] >= 0 && x.sizes[1] != x.n {
		return errXZ
	}
	var sum []byte
	if x.check != nil {
		sum = x.check.Sum(nil)
		if x.check.Size() <= 8 { // CRCs are stored the other way round
			slices.Reverse(sum)
		}
	}
	// One record: the block without its padding, and what it unpacks to.
	index := []byte{0, 1}
	index = appendLength(index, x.head+x.packed.n+int64(len(sum)))
	index = appendLength(index, x.n)
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(index))

	foot := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	foot = append(foot, x.flags[:]...)

	want := make([]byte, (4-x.packed.n%4)%4, 128)
	want = append(append(want, sum...), index...)
	want = binary.LittleEndian.AppendUint32(want, crc32.ChecksumIEEE(foot))
	want = append(append(want, foot...), "YZ"...)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(x.in, got); err != nil {
		return short(err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w, or of several blocks: its end does not fit its content", errXZ)
	}
	return nil
}

// readLength reads a number of seven bits a byte, the lowest first.
func readLength(r io.ByteReader) (int64, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil || n > 1<<62 {
		return 0, errXZ
	}
	return int64(n), nil
}

func appendLength(b []byte, n int64) []byte { return binary.AppendUvarint(b, uint64(n)) }

// short is the error of a file that ends within a head.
func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
