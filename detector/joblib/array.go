package joblib

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// DType is a numpy type: kind b, i, u, f, c, S, U, O or V as numpy names it, and the
// bytes of an item. Kind V is a record of Fields.
type DType struct {
	Kind      byte
	Size      int
	BigEndian bool
	Fields    []Field
	built     bool
}

// Field is a field of a record, at an offset in bytes.
type Field struct {
	Name   string
	Type   *DType
	Offset int
}

// Array is a numpy array. Data are its items' bytes in C order, or in Fortran's; an
// array of objects has Items instead.
type Array struct {
	Type    *DType
	Shape   []int
	Fortran bool
	Data    []byte
	Items   []any
	built   bool
}

// maxRecord is the largest record type, in bytes.
const maxRecord = 4096

// parseType reads a code like "f8". What is not known here cannot be in a file.
func parseType(code string) (*DType, bool) {
	if code == "" {
		return nil, false
	}
	if code[0] == 'O' {
		return &DType{Kind: 'O', Size: 8}, code == "O8" || code == "O4" || code == "O"
	}
	if len(code) < 2 || len(code) > 8 || code[1] < '1' || code[1] > '9' {
		return nil, false
	}
	size, err := strconv.Atoi(code[1:])
	if err != nil {
		return nil, false
	}
	var ok bool
	switch code[0] {
	case 'b':
		ok = size == 1
	case 'i', 'u':
		ok = size == 1 || size == 2 || size == 4 || size == 8
	case 'f':
		ok = size == 2 || size == 4 || size == 8
	case 'c':
		ok = size == 8 || size == 16
	case 'S':
		ok = true
	case 'U':
		size, ok = 4*size, true
	case 'V':
		ok = size <= maxRecord
	}
	return &DType{Kind: code[0], Size: size}, ok
}

// code is what parseType reads.
func (d *DType) code() string {
	size := d.Size
	if d.Kind == 'U' {
		size /= 4
	}
	return string(d.Kind) + strconv.Itoa(size)
}

// maxItems is the largest number of items in an array.
const maxItems = 1 << 30

// count multiplies the dimensions. It is not ok where an array cannot have them.
func count(shape []int) (n int, ok bool) {
	if len(shape) > 32 {
		return 0, false
	}
	// Dimensions count one by one, also beside a 0: nobody may rely on 2^62 rows.
	n, product := 1, 1
	for _, d := range shape {
		if d < 0 || d > maxItems || product > maxItems/max(d, 1) {
			return 0, false
		}
		n *= d
		product *= max(d, 1)
	}
	return n, true
}

// Len is the number of items.
func (a *Array) Len() int {
	n, _ := count(a.Shape)
	return n
}

// column is a field of all items, or the items themselves.
type column struct {
	kind    byte
	size    int
	order   binary.ByteOrder
	data    []byte
	stride  int
	n, from int
	place   []int // where item i lies, if not at i
}

func (a *Array) column(field string) (column, error) {
	if a.Type == nil {
		return column{}, fmt.Errorf("%w: an unfinished array", ErrMalformed)
	}
	t, from := a.Type, 0
	if field != "" {
		t = nil
		for _, f := range a.Type.Fields {
			if f.Name == field {
				t, from = f.Type, f.Offset
			}
		}
		if t == nil {
			return column{}, fmt.Errorf("%w: an array without field %s", ErrMalformed, field)
		}
	}
	c := column{kind: t.Kind, size: t.Size, order: binary.LittleEndian, data: a.Data, stride: a.Type.Size, from: from}
	if t.BigEndian {
		c.order = binary.BigEndian
	}
	if a.Type.Kind != 'O' {
		c.n = a.Len()
	}
	if a.Fortran && !a.isLine() {
		c.place = fortran(a.Shape, c.n)
	}
	return c, nil
}

// fortran tells where the items of an array lie whose first index runs fastest, in the
// order in which the last one does.
func fortran(shape []int, n int) []int {
	place, index := make([]int, n), make([]int, len(shape))
	for i := range place {
		at, stride := 0, 1
		for axis, d := range shape {
			at += index[axis] * stride
			stride *= d
		}
		place[i] = at
		for axis := len(shape) - 1; axis >= 0; axis-- {
			if index[axis]++; index[axis] < shape[axis] {
				break
			}
			index[axis] = 0
		}
	}
	return place
}

// isLine tells whether both orders are the same.
func (a *Array) isLine() bool {
	long := 0
	for _, d := range a.Shape {
		if d > 1 {
			long++
		}
	}
	return long <= 1
}

// plain tells whether all items are words of eight bytes, least significant byte
// first, as in nearly all files.
func (c column) plain() bool {
	return c.size == 8 && c.place == nil && c.order == binary.LittleEndian
}

// word is item i of a plain column.
func (c column) word(i int) uint64 { return binary.LittleEndian.Uint64(c.data[i*c.stride+c.from:]) }

// bits is item i, not extended by its sign.
func (c column) bits(i int) uint64 {
	if c.place != nil {
		i = c.place[i]
	}
	b := c.data[i*c.stride+c.from:][:c.size]
	switch c.size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(c.order.Uint16(b))
	case 4:
		return uint64(c.order.Uint32(b))
	}
	return c.order.Uint64(b)
}

func (c column) int(i int) int64 {
	v := c.bits(i)
	if c.kind != 'i' {
		return int64(v)
	}
	unused := 64 - 8*c.size
	return int64(v) << unused >> unused
}

func (c column) float(i int) float64 {
	switch {
	case c.kind == 'f' && c.size == 8:
		return math.Float64frombits(c.bits(i))
	case c.kind == 'f':
		return float64(math.Float32frombits(uint32(c.bits(i))))
	}
	return float64(c.int(i))
}

func (c column) isInt() bool { return c.kind == 'i' || c.kind == 'u' || c.kind == 'b' }

// Ints decodes an array of integers, or a field of a record array, in C order.
func (a *Array) Ints(field string) ([]int64, error) {
	c, err := a.column(field)
	if err != nil {
		return nil, err
	}
	if !c.isInt() {
		return nil, fmt.Errorf("%w: an array of kind %c instead of integers", ErrMalformed, c.kind)
	}
	v := make([]int64, c.n)
	if c.plain() {
		for i := range v {
			v[i] = int64(c.word(i))
		}
		return v, nil
	}
	for i := range v {
		v[i] = c.int(i)
	}
	return v, nil
}

// Floats decodes an array of numbers, or a field of a record array, in C order.
func (a *Array) Floats(field string) ([]float64, error) {
	c, err := a.column(field)
	if err != nil {
		return nil, err
	}
	if !c.isInt() && (c.kind != 'f' || c.size < 4) {
		return nil, fmt.Errorf("%w: an array of kind %c%d instead of numbers", ErrMalformed, c.kind, c.size)
	}
	v := make([]float64, c.n)
	if c.plain() && c.kind == 'f' {
		for i := range v {
			v[i] = math.Float64frombits(c.word(i))
		}
		return v, nil
	}
	for i := range v {
		v[i] = c.float(i)
	}
	return v, nil
}
