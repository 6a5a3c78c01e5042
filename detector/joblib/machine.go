package joblib

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// The bounds of one file, beside the bytes that its caller grants. A forest of 100
// trees takes 50,000 units of work.
const (
	maxWork   = 5_000_000 // one for each opcode, more for those that take longer
	minMemory = 12 << 20  // bytes that values may take in any case
	maxMemory = 128 << 20 // and in no case; else maxGrowth for each byte of the pickle
	maxGrowth = 12
	maxStack  = 50_000
	maxMarks  = 10_000
	maxMemo   = 1_000_000
	maxLine   = 4096 // bytes of a name, or of anything else in a line
	maxDigits = 40   // of a decimal number
	maxInt    = 256  // bytes of an integer
	maxNested = 8    // arrays of objects within arrays of objects
)

// machine runs one pickle.
type machine struct {
	*file
	data  []byte
	pos   int
	depth int // of the pickle, within others

	inFrame  bool
	frameEnd int
	stack    []any
	marks    []int // heights of the stack
	// memo is what was memoised in order, as is usual; far are entries beyond its end.
	memo []any
	far  map[uint64]any
	// binary tells that a PROTO stood at the beginning: protocol 2 or newer.
	binary bool
}

func (m *machine) malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s (at byte %d)", ErrMalformed, fmt.Sprintf(format, args...), m.pos)
}

func (m *machine) unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s (at byte %d)", ErrUnsupported, fmt.Sprintf(format, args...), m.pos)
}

func (m *machine) tooLarge(format string, args ...any) error {
	return fmt.Errorf("%w: %s (at byte %d)", ErrTooLarge, fmt.Sprintf(format, args...), m.pos)
}

// spend counts work against the file's bound.
func (m *machine) spend(n int) error {
	if m.work -= n; m.work < 0 {
		return m.tooLarge("more opcodes than any detector has")
	}
	return nil
}

// The memory that values take, in bytes, garbage of their making included.
const (
	smallBytes = 24  // a number, or where a text is
	itemBytes  = 40  // of a list, tuple or the memo
	entryBytes = 64  // of a dict
	farBytes   = 160 // the same in a map
	valueBytes = 64  // whatever else is allocated
)

// roomFor is the memory that the values of so many bytes may take.
func roomFor(n int) int { return min(minMemory+maxGrowth*n, maxMemory) }

// allocate counts memory against the file's bound.
func (m *machine) allocate(n int) error {
	if m.room -= n; m.room < 0 {
		return m.tooLarge("more values than any detector has")
	}
	return nil
}

// take gives the next n bytes. An argument may not reach beyond its frame: readers
// that mind frames and readers that don't would see different opcodes.
func (m *machine) take(n uint64) ([]byte, error) {
	if m.inFrame && m.pos == m.frameEnd {
		m.inFrame = false
	}
	end := len(m.data)
	if m.inFrame {
		end = m.frameEnd
	}
	if n > uint64(end-m.pos) {
		if m.beginning && !m.inFrame && n > uint64(m.limit) {
			return nil, m.tooLarge("%d bytes in one piece", n)
		}
		if m.beginning && !m.inFrame {
			return nil, errBeginning
		}
		return nil, m.malformed("it ends early: %d bytes wanted, %d left", n, end-m.pos)
	}
	if n > uint64(len(m.data)-m.pos) { // within a frame that reaches behind the beginning
		return nil, errBeginning
	}
	b := m.data[m.pos : m.pos+int(n) : m.pos+int(n)]
	m.pos += int(n)
	return b, nil
}

// uint reads an n-byte little-endian number.
func (m *machine) uint(n int) (uint64, error) {
	b, err := m.take(uint64(n))
	if err != nil {
		return 0, err
	}
	var full [8]byte
	copy(full[:], b)
	return binary.LittleEndian.Uint64(full[:]), nil
}

// sized reads bytes behind their n-byte length.
func (m *machine) sized(n int) ([]byte, error) {
	size, err := m.uint(n)
	if err != nil {
		return nil, err
	}
	return m.take(size)
}

func (m *machine) text(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", m.malformed("text that is not UTF-8")
	}
	return string(b), m.allocate(smallBytes + len(b))
}

// line reads up to the end of the line.
func (m *machine) line() ([]byte, error) {
	if m.inFrame && m.pos == m.frameEnd {
		m.inFrame = false
	}
	rest := m.data[m.pos:]
	if m.inFrame {
		rest = m.data[m.pos:min(m.frameEnd, len(m.data))]
	}
	n := bytes.IndexByte(rest[:min(len(rest), maxLine)], '\n')
	if n < 0 && m.beginning && len(rest) < maxLine && !(m.inFrame && m.frameEnd <= len(m.data)) {
		return nil, errBeginning
	}
	if n < 0 {
		return nil, m.malformed("a line without end")
	}
	b, err := m.take(uint64(n + 1))
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

func (m *machine) push(v any) error {
	if len(m.stack) >= maxStack {
		return m.tooLarge("a stack of more than %d values", maxStack)
	}
	m.stack = append(m.stack, v)
	return nil
}

// made pushes what memory was allocated for: the value, and items in it.
func (m *machine) made(v any, items int) error {
	if err := m.spend(2); err != nil {
		return err
	}
	if err := m.allocate(valueBytes + items*itemBytes); err != nil {
		return err
	}
	return m.push(v)
}

// height is where the stack begins for who may not reach below the last mark.
func (m *machine) height() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

// pop takes the n topmost values.
func (m *machine) pop(n int) ([]any, error) {
	at := len(m.stack) - n
	if at < m.height() {
		return nil, m.malformed("%d values wanted of a stack of %d", n, len(m.stack)-m.height())
	}
	v := m.stack[at:]
	m.stack = m.stack[:at]
	return v, nil
}

// popMark takes the values above the last mark, and the mark.
func (m *machine) popMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, m.malformed("no mark on the stack")
	}
	at := m.height()
	m.marks = m.marks[:len(m.marks)-1]
	v := m.stack[at:]
	m.stack = m.stack[:at]
	return v, nil
}

func (m *machine) top() (any, error) {
	if len(m.stack) <= m.height() {
		return nil, m.malformed("an empty stack")
	}
	return m.stack[len(m.stack)-1], nil
}

func (m *machine) remember(at uint64) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if at > 4*maxMemo || len(m.memo)+len(m.far) >= maxMemo {
		return m.tooLarge("memo entry %d", at)
	}
	switch n := uint64(len(m.memo)); {
	case at < n:
		m.memo[at] = v
		return nil
	case at == n:
		m.memo = append(m.memo, v)
		delete(m.far, at)
		return m.allocate(itemBytes)
	}
	if m.far == nil {
		m.far = map[uint64]any{}
	}
	m.far[at] = v
	return m.allocate(farBytes)
}

func (m *machine) recall(at uint64) error {
	v, ok := m.far[at]
	if at < uint64(len(m.memo)) {
		v, ok = m.memo[at], true
	}
	if !ok {
		return m.malformed("memo entry %d was never stored", at)
	}
	if _, ok := v.(*pendingArray); ok {
		return m.malformed("an array fetched before it is there")
	}
	return m.push(v)
}
