package joblib

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
)

// run executes a pickle up to its STOP.
func (m *machine) run() (any, error) {
	if err := m.begin(); err != nil {
		return nil, err
	}
	for {
		op, err := m.take(1)
		if err == nil && op[0] == '.' {
			break
		}
		if err == nil {
			err = m.spend(1)
		}
		if err == nil {
			err = m.step(op[0])
		}
		if err != nil && !m.binary && errors.Is(err, ErrMalformed) && len(m.seen.Globals) == 0 {
			err = fmt.Errorf("%w (or one of protocol 0: %w)", ErrNoPickle, err)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(m.stack) != 1 || len(m.marks) != 0 {
		return nil, m.malformed("%d values and %d marks at the end", len(m.stack), len(m.marks))
	}
	if m.inFrame && m.pos != m.frameEnd {
		return nil, m.malformed("%d bytes in the frame after its end", m.frameEnd-m.pos)
	}
	return m.stack[0], nil
}

// begin reads the protocol. 0 and 1 do not say theirs: they begin with a value, and what
// does not is no pickle.
func (m *machine) begin() error {
	b, err := m.take(1)
	switch {
	case errors.Is(err, errBeginning):
		return err
	case err != nil || b[0] != 0x80 && (m.depth > 0 || bytes.IndexByte([]byte("(c]})NIJKLMFGSTUVX"), b[0]) < 0):
		return fmt.Errorf("%w: it does not begin as one does", ErrNoPickle)
	case b[0] != 0x80:
		m.pos--
		m.uses(0)
		return nil
	}
	m.binary = true
	protocol, err := m.uint(1)
	if err != nil {
		return err
	}
	if protocol > 5 {
		return m.unsupported("pickle protocol %d", protocol)
	}
	m.uses(int(protocol))
	return nil
}

// step executes one opcode. Those are not here that would look outside of the file
// (persistent ids, extension codes, buffers), or make instances in a way of Python 2.
func (m *machine) step(op byte) error {
	if op >= 0x80 && !m.binary {
		return m.malformed("opcode %#02x in protocol 0 or 1", op)
	}
	switch op {
	case 'N':
		return m.push(nil)
	case 0x88:
		return m.push(true)
	case 0x89:
		return m.push(false)
	case 'K', 'M', 'J', 0x8a, 0x8b, 'G':
		return m.number(op)
	case 'X', 0x8c, 0x8d, 'U', 'T', 'C', 'B', 0x8e, 0x96:
		return m.string(op)
	case ')', 't', 0x85, 0x86, 0x87:
		return m.tuple(op)
	case 'I', 'L', 'F', 'S', 'V':
		return m.textual(op)
	case ']', 'a', 'e', 'l', 0x8f, 0x90, 0x91:
		return m.list(op)
	case '}', 's', 'u', 'd':
		return m.dict(op)
	case 'q', 'r', 'h', 'j', 'p', 'g', 0x94:
		return m.memory(op)
	case '(', '0', '1', '2':
		return m.shuffle(op)
	case 'c', 0x93:
		return m.global(op)
	case 'R', 0x81, 'b':
		return m.construct(op)
	case 0x95:
		return m.frame()
	}
	return m.malformed("opcode %#02x", op)
}

func (m *machine) frame() error {
	if m.inFrame {
		return m.malformed("a frame within a frame")
	}
	size, err := m.uint(8)
	if err != nil {
		return err
	}
	if left := len(m.data) - m.pos; size == 0 || size > uint64(left) && !m.beginning || size > math.MaxInt32 {
		return m.malformed("a frame of %d bytes, %d left", size, left)
	}
	m.inFrame, m.frameEnd = true, m.pos+int(size)
	return nil
}

func (m *machine) tuple(op byte) error {
	var items []any
	var err error
	switch op {
	case ')':
	case 't':
		items, err = m.popMark()
	default:
		items, err = m.pop(int(op) - 0x84)
	}
	if err != nil {
		return err
	}
	return m.made(Tuple(slices.Clone(items)), len(items))
}

func (m *machine) list(op byte) error {
	switch op {
	case ']', 0x8f:
		return m.made(&List{}, 0)
	case 'l', 0x91: // a list of protocol 0, or a set that does not change
		items, err := m.popMark()
		if err != nil {
			return err
		}
		return m.made(&List{Items: slices.Clone(items)}, len(items))
	}
	var items []any
	var err error
	if op == 'a' {
		items, err = m.pop(1)
	} else {
		items, err = m.popMark()
	}
	if err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	l, ok := v.(*List)
	if !ok {
		return m.malformed("items for %s", kind(v))
	}
	if err := m.allocate(len(items) * itemBytes); err != nil {
		return err
	}
	l.Items = append(l.Items, items...)
	return nil
}

func (m *machine) dict(op byte) error {
	var items []any
	var err error
	switch op {
	case '}':
		return m.made(&Dict{}, 0)
	case 's':
		items, err = m.pop(2)
	case 'u', 'd':
		items, err = m.popMark()
	}
	if err != nil {
		return err
	}
	if op == 'd' { // of protocol 0: the items may lie where it is pushed
		items = slices.Clone(items)
		if err := m.made(&Dict{}, 0); err != nil {
			return err
		}
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	d, ok := v.(*Dict)
	if !ok {
		return m.malformed("entries for %s", kind(v))
	}
	if len(items)%2 != 0 {
		return m.malformed("a key without value")
	}
	if err := m.spend(len(items)); err != nil {
		return err
	}
	entry := entryBytes
	if len(d.Keys)+len(items)/2 > fewKeys {
		entry = farBytes
	}
	if err := m.allocate(len(items) / 2 * entry); err != nil {
		return err
	}
	d.Keys, d.Values = slices.Grow(d.Keys, len(items)/2), slices.Grow(d.Values, len(items)/2)
	for i := 0; i < len(items); i += 2 {
		if name, ok := items[i].(string); ok {
			d.Set(name, items[i+1])
			continue
		}
		if err := m.key(items[i], 0); err != nil {
			return err
		}
		d.Keys, d.Values = append(d.Keys, items[i]), append(d.Values, items[i+1])
	}
	return nil
}

// key checks that a value may be a key of a dict.
func (m *machine) key(v any, depth int) error {
	switch v := v.(type) {
	case nil, bool, int64, float64, string, []byte:
		return nil
	case Tuple:
		if err := m.spend(len(v)); err != nil {
			return err
		}
		for _, item := range v {
			if depth == maxNested {
				return m.malformed("a key of tuples in tuples")
			}
			if err := m.key(item, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return m.malformed("%s as a key", kind(v))
}

func (m *machine) memory(op byte) error {
	if op == 0x94 {
		return m.remember(uint64(len(m.memo) + len(m.far)))
	}
	if op == 'p' || op == 'g' {
		at, err := m.index()
		if err != nil {
			return err
		}
		if op == 'g' {
			return m.recall(at)
		}
		return m.remember(at)
	}
	width := 1
	if op == 'r' || op == 'j' {
		width = 4
	}
	at, err := m.uint(width)
	if err != nil {
		return err
	}
	if op == 'h' || op == 'j' {
		return m.recall(at)
	}
	return m.remember(at)
}

func (m *machine) shuffle(op byte) error {
	switch op {
	case '(':
		if len(m.marks) >= maxMarks {
			return m.tooLarge("more than %d marks", maxMarks)
		}
		m.marks = append(m.marks, len(m.stack))
		return nil
	case '0':
		_, err := m.pop(1)
		return err
	case '1':
		_, err := m.popMark()
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	if _, ok := v.(*pendingArray); ok {
		return m.malformed("an array doubled before it is there")
	}
	return m.push(v)
}
