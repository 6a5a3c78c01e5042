package joblib

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// pendingArray is joblib's NumpyArrayWrapper until its BUILD.
type pendingArray struct{}

// kind names a value's kind for an error.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case Global:
		return "the class " + v.String()
	case *Object:
		return "an instance of " + v.Class.String()
	case *Array:
		return "an array"
	case *pendingArray:
		return "an unfinished array"
	case *DType:
		return "a dtype"
	case *List:
		return "a list"
	case *Dict:
		return "a dict"
	case Tuple:
		return "a tuple"
	case string:
		return "text"
	case []byte:
		return "bytes"
	}
	return fmt.Sprintf("a number (%v)", v)
}

// global names a class or function, by two lines or by two values of the stack.
func (m *machine) global(op byte) error {
	var g Global
	if op == 'c' {
		for _, part := range []*string{&g.Module, &g.Name} {
			b, err := m.line()
			if err != nil {
				return err
			}
			if *part, err = m.text(b); err != nil {
				return err
			}
		}
	} else {
		v, err := m.pop(2)
		if err != nil {
			return err
		}
		var ok1, ok2 bool
		g.Module, ok1 = v[0].(string)
		g.Name, ok2 = v[1].(string)
		if !ok1 || !ok2 {
			return m.malformed("a class named by %s and %s", kind(v[0]), kind(v[1]))
		}
	}
	first := m.names(g)
	if m.depth == 0 && m.root == (Global{}) && (first && len(m.stack) == 0 && m.makesInstance() || m.remakesInstance()) {
		m.root = g
	}
	if roleOf(g) == refused {
		return &GlobalError{Global: g, At: m.pos, Root: m.root}
	}
	return m.push(g)
}

// makesInstance tells whether the class just named is made an instance of at once, so
// that the file is one of it.
func (m *machine) makesInstance() bool {
	rest := m.data[m.pos:]
	switch {
	case bytes.HasPrefix(rest, []byte{0x94}):
		rest = rest[1:]
	case bytes.HasPrefix(rest, []byte("q")) && len(rest) > 2:
		rest = rest[2:]
	}
	return bytes.HasPrefix(rest, []byte{')', 0x81})
}

// remakesInstance tells the same of protocols 0 and 1: the class just named is the first
// argument of the first call.
func (m *machine) remakesInstance() bool {
	if len(m.stack) != 1 || len(m.marks) != 1 || m.marks[0] != 1 {
		return false
	}
	g, ok := m.stack[0].(Global)
	return ok && roleOf(g) == construct
}

func (m *machine) construct(op byte) error {
	v, err := m.pop(2)
	if err != nil {
		return err
	}
	first, second := v[0], v[1]
	if op == 'b' {
		built, err := m.build(first, second)
		if err != nil {
			return err
		}
		return m.push(built)
	}
	g, isGlobal := first.(Global)
	args, isTuple := second.(Tuple)
	if !isGlobal || !isTuple {
		return m.malformed("a call of %s with %s", kind(first), kind(second))
	}
	if err := m.spend(4); err != nil {
		return err
	}
	if err := m.allocate(valueBytes); err != nil {
		return err
	}
	made, ok := instance(g, args)
	if op == 'R' {
		if made, ok, err = m.reduce(g, args); err != nil {
			return err
		}
	}
	if !ok {
		return m.malformed("%s called with unusual arguments", g)
	}
	return m.push(made)
}

func instance(g Global, args Tuple) (any, bool) {
	switch roleOf(g) {
	case wrapper:
		return &pendingArray{}, len(args) == 0
	case estimator:
		return &Object{Class: g}, len(args) == 0
	}
	return nil, false
}

// reduce is the call of a global. It is not ok with arguments that are not the ones
// that honest files give.
func (m *machine) reduce(g Global, a Tuple) (v any, ok bool, err error) {
	switch roleOf(g) {
	case dtype:
		if len(a) != 3 || !isFalse(a[1]) || !isTrue(a[2]) {
			return nil, false, nil
		}
		code, _ := a[0].(string)
		d, ok := parseType(code)
		if !ok {
			return nil, false, m.unsupported("the numpy type %.20q", code)
		}
		return d, true, nil
	case reconstruct:
		ok = len(a) == 3 && a[0] == any(Global{"numpy", "ndarray"}) && isShape(a[1], 0) && isText(a[2], "b")
		return &Array{}, ok, nil
	case scalar:
		if len(a) != 2 {
			return nil, false, nil
		}
		d, ok1 := a[0].(*DType)
		b, ok2 := a[1].([]byte)
		if !ok1 || !ok2 {
			return nil, false, nil
		}
		v, ok = readScalar(d, b)
		return v, ok, nil
	case fromBuffer:
		if len(a) != 4 {
			return nil, false, nil
		}
		data, ok1 := a[0].([]byte)
		d, ok2 := a[1].(*DType)
		order, ok3 := a[3].(string)
		if !ok1 || !ok2 || !ok3 || (order != "C" && order != "F") {
			return nil, false, nil
		}
		v, err = m.array(d, a[2], order == "F", data)
		return v, true, err
	case tree:
		if len(a) != 3 {
			return nil, false, nil
		}
		_, ok1 := a[0].(int64)
		_, ok2 := a[1].(*Array)
		_, ok3 := a[2].(int64)
		return &Object{Class: g, Args: a}, ok1 && ok2 && ok3, nil
	case opaque:
		for _, v := range a {
			switch v.(type) {
			case nil, int64, string, []byte, Global, *Object:
			default:
				return nil, false, nil
			}
		}
		return &Object{Class: g, Args: a}, len(a) <= 8, nil
	case encode:
		return m.latin1(a)
	case makeBytes:
		return []byte{}, len(a) == 0, nil
	case makeArray:
		if len(a) != 1 {
			return nil, false, nil
		}
		b, ok := a[0].([]byte)
		return b, ok, nil
	case makeSet:
		if len(a) != 1 {
			return nil, false, nil
		}
		l, ok := a[0].(*List)
		return l, ok, nil
	case construct:
		if len(a) != 3 || a[2] != nil {
			return nil, false, nil
		}
		class, ok1 := a[0].(Global)
		base, ok2 := a[1].(Global)
		if !ok1 || !ok2 || base.Name != "object" || roleOf(base) != value {
			return nil, false, nil
		}
		v, ok = instance(class, nil)
		return v, ok, nil
	}
	return nil, false, nil
}

func isFalse(v any) bool { return v == any(false) || v == any(int64(0)) }
func isTrue(v any) bool  { return v == any(true) || v == any(int64(1)) }

// isText: protocol 2 leaves open whether it is text or bytes.
func isText(v any, want string) bool {
	switch v := v.(type) {
	case string:
		return v == want
	case []byte:
		return string(v) == want
	}
	return false
}

func isShape(v any, dim int64) bool {
	t, ok := v.(Tuple)
	return ok && len(t) == 1 && t[0] == any(dim)
}

// latin1 is the one use of codecs: bytes written as text whose characters they are.
func (m *machine) latin1(a Tuple) (any, bool, error) {
	if len(a) != 2 || (a[1] != any("latin1") && a[1] != any("latin-1")) {
		return nil, false, nil
	}
	s, ok := a[0].(string)
	if !ok {
		return nil, false, nil
	}
	if err := m.spend(len(s) / 8); err != nil {
		return nil, false, err
	}
	if err := m.allocate(len(s)); err != nil {
		return nil, false, err
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return nil, false, nil
		}
		b = append(b, byte(r))
	}
	return b, true, nil
}

// readScalar is a numpy number as a plain one.
func readScalar(d *DType, b []byte) (any, bool) {
	if !d.built || len(b) != d.Size {
		return nil, false
	}
	c := column{kind: d.Kind, size: d.Size, order: binary.LittleEndian, data: b, stride: d.Size}
	if d.BigEndian {
		c.order = binary.BigEndian
	}
	switch {
	case d.Kind == 'b':
		return c.int(0) != 0, true
	case d.Kind == 'u' && d.Size == 8 && c.bits(0) > math.MaxInt64:
		return nil, false
	case c.isInt():
		return c.int(0), true
	case d.Kind == 'f' && d.Size >= 4:
		return c.float(0), true
	}
	return nil, false
}
