package joblib

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

func (e *encoder) value(v any) error {
	if e.frame.Len() >= frameTarget {
		if err := e.flush(); err != nil {
			return err
		}
	}
	if e.nesting++; e.nesting > maxNesting {
		return fmt.Errorf("values nested more than %d deep", maxNesting)
	}
	defer func() { e.nesting-- }()
	switch v := v.(type) {
	case nil:
		e.op('N')
	case bool:
		if v {
			e.op(0x88)
		} else {
			e.op(0x89)
		}
	case int:
		e.int(int64(v))
	case int64:
		e.int(v)
	case float64:
		e.frame.Write(binary.BigEndian.AppendUint64([]byte{'G'}, math.Float64bits(v)))
	case string:
		e.string(v)
	case []byte:
		e.sized('C', 'B', v)
	case Lazy:
		return e.value(v())
	case Global:
		return e.global(v)
	case Tuple:
		return e.tuple(v)
	case *List:
		return e.list(v.Items)
	case *Dict:
		return e.dict(v)
	case *Object:
		return e.object(v)
	case *DType:
		return e.dtype(v)
	case *Array:
		return e.array(v)
	case Int64:
		return e.scalar('i', uint64(v))
	case Float64:
		return e.scalar('f', math.Float64bits(float64(v)))
	default:
		return fmt.Errorf("a value of type %T", v)
	}
	return nil
}

func (e *encoder) int(v int64) {
	switch {
	case v >= 0 && v <= math.MaxUint8:
		e.op('K', byte(v))
	case v >= 0 && v <= math.MaxUint16:
		e.op('M', byte(v), byte(v>>8))
	case v >= math.MinInt32 && v <= math.MaxInt32:
		e.frame.Write(binary.LittleEndian.AppendUint32([]byte{'J'}, uint32(v)))
	default:
		e.frame.Write(binary.LittleEndian.AppendUint64([]byte{0x8a, 8}, uint64(v)))
	}
}

// sized writes bytes behind their length, of one byte if it is enough.
func (e *encoder) sized(short, long byte, b []byte) {
	if len(b) < 256 {
		e.op(short, byte(len(b)))
	} else {
		e.frame.Write(binary.LittleEndian.AppendUint32([]byte{long}, uint32(len(b))))
	}
	e.frame.Write(b)
}

func (e *encoder) string(s string) {
	if e.known(s) {
		return
	}
	e.sized(0x8c, 'X', []byte(s))
	e.memoize(s)
}

func (e *encoder) global(g Global) error {
	if !e.known(g) {
		e.string(g.Module)
		e.string(g.Name)
		e.op(0x93)
		e.memoize(g)
	}
	return nil
}

// values writes several, one after the other.
func (e *encoder) values(v ...any) error {
	for _, x := range v {
		if err := e.value(x); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) tuple(t Tuple) error {
	if n := len(t); n > 3 {
		e.op('(')
		if err := e.values(t...); err != nil {
			return err
		}
		e.op('t')
		return nil
	}
	if err := e.values(t...); err != nil {
		return err
	}
	e.op([]byte{')', 0x85, 0x86, 0x87}[len(t)])
	return nil
}

// batch is how many items are on a reader's stack at once.
const batch = 1000

func (e *encoder) list(items []any) error {
	e.op(']')
	for len(items) > 0 {
		n := min(batch, len(items))
		e.op('(')
		if err := e.values(items[:n]...); err != nil {
			return err
		}
		e.op('e')
		items = items[n:]
	}
	return nil
}

func (e *encoder) dict(d *Dict) error {
	e.op('}')
	for i := 0; i < len(d.Keys); {
		e.op('(')
		for end := min(i+batch, len(d.Keys)); i < end; i++ {
			if err := e.values(d.Keys[i], d.Values[i]); err != nil {
				return fmt.Errorf("%v: %w", d.Keys[i], err)
			}
		}
		e.op('u')
	}
	return nil
}

func (e *encoder) object(o *Object) error {
	if err := e.values(o.Class, o.Args); err != nil {
		return err
	}
	if len(o.Args) == 0 {
		e.op(0x81)
	} else {
		e.op('R')
	}
	if o.State == nil {
		return nil
	}
	if err := e.value(o.State); err != nil {
		return err
	}
	e.op('b')
	return nil
}

// typeKey tells types apart that are not records.
type typeKey struct {
	kind      byte
	size      int
	bigEndian bool
}

func (e *encoder) dtype(d *DType) error {
	var key any = typeKey{d.Kind, d.Size, d.BigEndian}
	order := "<"
	switch {
	case d.Size == 1 || d.Kind == 'O' || d.Kind == 'V':
		order = "|"
	case d.BigEndian:
		order = ">"
	}
	state := Tuple{3, order, nil, nil, nil, -1, -1, 0}
	switch d.Kind {
	case 'b', 'i', 'u', 'f':
	case 'O':
		state[7] = 63 // numpy's flags: it holds objects
	case 'V':
		key = d
		names, fields := Tuple{}, &Dict{}
		for _, f := range d.Fields {
			names = append(names, f.Name)
			fields.Set(f.Name, Tuple{f.Type, f.Offset})
		}
		state = Tuple{3, order, nil, names, fields, d.Size, 1, 16} // aligned to 1; numpy's flags: a record
	default:
		return fmt.Errorf("an array of kind %c", d.Kind)
	}
	if e.known(key) {
		return nil
	}
	if err := e.values(Global{"numpy", "dtype"}, Tuple{d.code(), false, true}); err != nil {
		return err
	}
	e.op('R')
	e.memoize(key)
	if err := e.value(state); err != nil {
		return err
	}
	e.op('b')
	return nil
}

// multiarray is a module that every numpy opens: newer ones call it numpy._core but
// keep the old name for pickles.
const multiarray = "numpy.core.multiarray"

func (e *encoder) scalar(kind byte, bits uint64) error {
	b := binary.LittleEndian.AppendUint64(nil, bits)
	err := e.values(Global{multiarray, "scalar"}, Tuple{&DType{Kind: kind, Size: 8}, b})
	e.op('R')
	return err
}

// array writes joblib's wrapper for an array, then its bytes behind the frame's end.
func (e *encoder) array(a *Array) error {
	n, ok := count(a.Shape)
	if !ok || (a.Type.Kind == 'O' && len(a.Items) != n) || (a.Type.Kind != 'O' && len(a.Data) != n*a.Type.Size) {
		return fmt.Errorf("an array of shape %v that holds something else", a.Shape)
	}
	order := "C"
	if a.Fortran {
		order = "F"
	}
	state := &Dict{}
	state.Set("subclass", Global{"numpy", "ndarray"})
	state.Set("shape", shapeTuple(a.Shape))
	state.Set("order", order)
	state.Set("dtype", a.Type)
	state.Set("allow_mmap", false) // not in a compressed file
	state.Set("numpy_array_alignment_bytes", alignment)
	if err := e.object(&Object{Class: Global{"joblib.numpy_pickle", "NumpyArrayWrapper"}, State: state}); err != nil {
		return err
	}
	if err := e.flush(); err != nil {
		return err
	}
	if a.Type.Kind == 'O' {
		return newEncoder(e.out).objects(a)
	}
	padding := alignment - (e.out.n+1)%alignment
	head := append([]byte{byte(padding)}, bytes.Repeat([]byte{0xff}, int(padding))...)
	if _, err := e.out.Write(head); err != nil {
		return err
	}
	_, err := e.out.Write(a.Data)
	return err
}

func shapeTuple(shape []int) Tuple {
	t := Tuple{}
	for _, d := range shape {
		t = append(t, d)
	}
	return t
}

// objects writes a pickle of an array of objects as pickle itself does it.
func (e *encoder) objects(a *Array) error {
	if _, err := e.out.Write([]byte{0x80, 4}); err != nil {
		return err
	}
	if err := e.values(Global{multiarray, "_reconstruct"}, Tuple{Global{"numpy", "ndarray"}, Tuple{0}, []byte("b")}); err != nil {
		return err
	}
	e.op('R')
	if err := e.value(Tuple{1, shapeTuple(a.Shape), a.Type, a.Fortran, &List{Items: a.Items}}); err != nil {
		return err
	}
	e.op('b', '.')
	return e.flush()
}
