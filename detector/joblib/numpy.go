package joblib

import (
	"bytes"
	"slices"
)

// buildType reads a dtype's (version, byte order, subarray, names, fields, size,
// alignment, flags).
func (m *machine) buildType(d *DType, state any) error {
	s, ok := state.(Tuple)
	if !ok || len(s) != 8 || (s[0] != any(int64(3)) && s[0] != any(int64(4))) || s[2] != nil {
		return m.malformed("a dtype of unusual form")
	}
	switch s[1] {
	case any("<"), any("|"):
	case any(">"):
		d.BigEndian = true
	default:
		return m.malformed("a dtype of unusual byte order")
	}
	d.built = true
	if (s[3] == nil) == (d.Kind == 'V') {
		return m.malformed("a dtype of %d bytes without kind", d.Size)
	}
	if s[3] == nil {
		return nil
	}
	names, ok1 := s[3].(Tuple)
	fields, ok2 := s[4].(*Dict)
	if !ok1 || !ok2 || len(names) == 0 || len(fields.Keys) != len(names) || s[5] != any(int64(d.Size)) {
		return m.malformed("a record dtype of unusual form")
	}
	if err := m.spend(4 * len(names)); err != nil {
		return err
	}
	if err := m.allocate(len(names) * entryBytes); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, n := range names {
		name, ok := n.(string)
		f, found := fields.Get(name)
		if !ok || !found || seen[name] {
			return m.malformed("a record dtype with unusual names")
		}
		seen[name] = true
		field, ok := readField(name, f)
		if !ok || field.Offset > d.Size-field.Type.Size {
			return m.malformed("a record dtype with field %.40q of unusual form", name)
		}
		d.Fields = append(d.Fields, field)
	}
	return nil
}

// readField reads a field's (dtype, offset).
func readField(name string, v any) (Field, bool) {
	t, ok := v.(Tuple)
	if !ok || len(t) != 2 {
		return Field{}, false
	}
	d, ok1 := t[0].(*DType)
	offset, ok2 := t[1].(int64)
	if !ok1 || !ok2 || !d.built || d.Kind == 'O' || d.Kind == 'V' || offset < 0 || offset > maxRecord {
		return Field{}, false
	}
	return Field{Name: name, Type: d, Offset: int(offset)}, true
}

// buildArray reads an ndarray's (version 1, shape, dtype, is Fortran's order, items):
// how pickle itself writes one, and joblib those of objects.
func (m *machine) buildArray(a *Array, state any) error {
	s, ok := state.(Tuple)
	if !ok || len(s) != 5 || s[0] != any(int64(1)) {
		return m.malformed("an array of unusual form")
	}
	d, ok := s[2].(*DType)
	if !ok || (!isTrue(s[3]) && !isFalse(s[3])) {
		return m.malformed("an array of unusual form")
	}
	if d.Kind != 'O' {
		data, ok := s[4].([]byte)
		if !ok {
			return m.malformed("an array without bytes")
		}
		b, err := m.array(d, s[1], isTrue(s[3]), data)
		if err == nil {
			*a = *b
		}
		return err
	}
	shape, n, err := m.shape(s[1])
	if err != nil {
		return err
	}
	items, ok := s[4].(*List)
	if !ok || len(items.Items) != n || !d.built {
		return m.malformed("an array of objects without its items")
	}
	*a = Array{Type: d, Shape: shape, Fortran: isTrue(s[3]), Items: items.Items[:n:n], built: true}
	return nil
}

func (m *machine) shape(v any) (shape []int, n int, err error) {
	t, ok := v.(Tuple)
	if !ok || len(t) > 32 {
		return nil, 0, m.malformed("an array of unusual shape")
	}
	for _, d := range t {
		d, ok := d.(int64)
		if !ok || d < 0 || d > maxItems {
			return nil, 0, m.malformed("an array of unusual shape")
		}
		shape = append(shape, int(d))
	}
	if n, ok = count(shape); !ok {
		return nil, 0, m.tooLarge("an array of shape %v", shape)
	}
	return shape, n, nil
}

func (m *machine) array(d *DType, shape any, fortran bool, data []byte) (*Array, error) {
	dims, n, err := m.shape(shape)
	if err != nil {
		return nil, err
	}
	if !d.built || d.Kind == 'O' {
		return nil, m.malformed("bytes for an array of objects")
	}
	if n*d.Size != len(data) {
		return nil, m.malformed("an array of shape %v and %d bytes an item in %d bytes", dims, d.Size, len(data))
	}
	return &Array{Type: d, Shape: dims, Fortran: fortran, Data: data, built: true}, nil
}

// alignment is what joblib 1.2 and newer align an array's bytes to.
const alignment = 16

// wrapped reads the array whose wrapper has got its state: its bytes follow, outside
// of any frame.
func (m *machine) wrapped(state any) (*Array, error) {
	s, ok := state.(*Dict)
	if !ok {
		return nil, m.malformed("an array of unusual form")
	}
	get := func(name string) any { v, _ := s.Get(name); return v }
	align, aligned := s.Get("numpy_array_alignment_bytes")
	keys := 5
	if aligned {
		keys++
	}
	d, ok1 := get("dtype").(*DType)
	order, ok2 := get("order").(string)
	subclass, ok3 := get("subclass").(Global)
	_, ok4 := get("allow_mmap").(bool)
	if !ok1 || !ok2 || !ok3 || !ok4 || len(s.Keys) != keys || !d.built ||
		(order != "C" && order != "F") ||
		(subclass != Global{"numpy", "ndarray"} && subclass != Global{"numpy", "memmap"}) {
		return nil, m.malformed("an array of unusual form")
	}
	shape, n, err := m.shape(get("shape"))
	if err != nil {
		return nil, err
	}
	// joblib goes on behind the frame, others right here: it must be the same place.
	if m.inFrame && m.pos != m.frameEnd {
		return nil, m.malformed("an array that does not end its frame")
	}
	m.inFrame = false
	if d.Kind == 'O' {
		return m.nested(shape)
	}
	m.seen.Arrays++
	if !aligned {
		m.seen.legacy++
	}
	if align == nil {
		m.seen.Unpadded++
	} else if err := m.padding(align); err != nil {
		return nil, err
	}
	data, err := m.take(uint64(n) * uint64(d.Size))
	if err != nil {
		return nil, err
	}
	return m.array(d, get("shape"), order == "F", data)
}

// padding reads what stands before an array's bytes. It cannot begin an opcode, so that
// the bytes are never executed by a reader that does not know of arrays. It is missing
// where joblib was older, or did not know its position.
func (m *machine) padding(align any) error {
	if align != any(int64(alignment)) {
		return m.unsupported("an array aligned to %s", kind(align))
	}
	b, err := m.sized(1)
	if err != nil {
		return err
	}
	if len(b) < 1 || len(b) > alignment || bytes.Count(b, []byte{0xff}) != len(b) {
		return m.malformed("padding that is not 1 to %d bytes of ff", alignment)
	}
	return nil
}

// nested reads an array of objects: a pickle of its own.
func (m *machine) nested(shape []int) (*Array, error) {
	if m.depth == maxNested {
		return nil, m.tooLarge("arrays in arrays in arrays")
	}
	inner := &machine{file: m.file, data: m.data, pos: m.pos, depth: m.depth + 1}
	v, err := inner.run()
	if err != nil {
		return nil, err
	}
	m.pos = inner.pos
	a, ok := v.(*Array)
	if !ok || !slices.Equal(a.Shape, shape) || a.Type.Kind != 'O' {
		return nil, m.malformed("an array of objects that holds %s", kind(v))
	}
	return a, nil
}
