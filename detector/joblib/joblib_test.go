package joblib_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"modelbucket/detector/joblib"
)

const limit = 1 << 24

func dumped(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := joblib.Write(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(b []byte) (any, error) {
	f, err := joblib.Read(bytes.NewReader(b), limit)
	return f.Root, err
}

// dict builds a Dict of pairs.
func dict(pairs ...any) *joblib.Dict {
	d := &joblib.Dict{}
	for i := 0; i < len(pairs); i += 2 {
		d.Set(pairs[i].(string), pairs[i+1])
	}
	return d
}

// compared ignores what a value remembers of its making.
var compared = cmp.Options{
	cmpopts.IgnoreUnexported(joblib.Dict{}, joblib.Object{}, joblib.Array{}, joblib.DType{}),
	cmpopts.EquateEmpty(), cmpopts.EquateNaNs(),
}

// anyValue draws a value that can be written, at most depth deep.
func anyValue(t *rapid.T, depth int) any {
	kinds := 13
	if depth == 0 {
		kinds = 8
	}
	items := func() (v []any) {
		for range rapid.IntRange(0, 5).Draw(t, "items") {
			v = append(v, anyValue(t, depth-1))
		}
		return v
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.Int64().Draw(t, "int")
	case 3:
		return rapid.Float64().Draw(t, "float")
	case 4:
		return rapid.String().Draw(t, "text")
	case 5:
		return rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
	case 6:
		n := rapid.IntRange(0, 40).Draw(t, "length")
		size := rapid.SampledFrom([]int{1, 2, 4, 8}).Draw(t, "size")
		return &joblib.Array{
			Type: &joblib.DType{Kind: 'i', Size: size, BigEndian: size > 1 && rapid.Bool().Draw(t, "big-endian")}, Shape: []int{2, n}, Fortran: rapid.Bool().Draw(t, "fortran"),
			Data: bytes.Repeat([]byte{byte(n)}, 2*n*size),
		}
	case 7:
		return joblib.Global{Module: "numpy", Name: "ndarray"}
	case 8:
		return joblib.Tuple(items())
	case 9:
		return &joblib.List{Items: items()}
	case 10:
		d := &joblib.Dict{}
		for _, v := range items() {
			d.Set(rapid.String().Draw(t, "key"), v)
		}
		return d
	case 11:
		return &joblib.Object{Class: joblib.Global{Module: "sklearn.pipeline", Name: "Pipeline"}, State: dict("x", anyValue(t, depth-1))}
	default:
		v := items()
		return &joblib.Array{Type: &joblib.DType{Kind: 'O', Size: 8}, Shape: []int{len(v)}, Items: v}
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := anyValue(rt, 3)
		got, err := read(dumped(t, want))
		if err != nil {
			rt.Fatalf("%v: %#v", err, want)
		}
		if diff := cmp.Diff(want, got, compared); diff != "" {
			rt.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Frames, batches and long lengths come into play with size.
func TestLargeValues(t *testing.T) {
	long := strings.Repeat("long text ", 20_000)
	var items []any
	names := &joblib.Dict{}
	for i := range 2500 {
		items = append(items, int64(i), float64(i), fmt.Sprint("text ", i))
		names.Set(fmt.Sprint("name ", i), int64(-i))
	}
	want := joblib.Tuple{long, []byte(long), &joblib.List{Items: items}, names, long, int64(math.MinInt64), int64(math.MaxInt64)}
	got, err := read(dumped(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(want), got, compared); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Numpy's scalars come back as plain numbers; a Lazy value is made when it is written.
func TestNumpyScalars(t *testing.T) {
	made := 0
	lazy := joblib.Lazy(func() any { made++; return joblib.Int64(-3) })
	got, err := read(dumped(t, joblib.Tuple{joblib.Float64(-0.25), lazy, lazy}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(joblib.Tuple{-0.25, int64(-3), int64(-3)}), got); diff != "" || made != 2 {
		t.Errorf("made %d times, want 2 (-want +got):\n%s", made, diff)
	}
}

func TestWriteRefuses(t *testing.T) {
	cycle := &joblib.List{}
	cycle.Items = []any{cycle}
	for name, v := range map[string]any{
		"a cycle":                 cycle,
		"an unknown type":         struct{}{},
		"an array of other bytes": &joblib.Array{Type: &joblib.DType{Kind: 'f', Size: 8}, Shape: []int{2}, Data: make([]byte, 8)},
		"an array of other items": &joblib.Array{Type: &joblib.DType{Kind: 'O', Size: 8}, Shape: []int{2}},
		"an array of text":        &joblib.Array{Type: &joblib.DType{Kind: 'U', Size: 8}, Shape: []int{1}, Data: make([]byte, 8)},
	} {
		if err := joblib.Write(io.Discard, v); err == nil {
			t.Errorf("%s was written", name)
		}
	}
}

func TestArrayNumbers(t *testing.T) {
	record := &joblib.DType{Kind: 'V', Size: 16, Fields: []joblib.Field{
		{Name: "f", Type: &joblib.DType{Kind: 'f', Size: 8, BigEndian: true}, Offset: 8},
		{Name: "i", Type: &joblib.DType{Kind: 'i', Size: 2}, Offset: 1},
	}}
	row := make([]byte, 16)
	binary.BigEndian.PutUint64(row[8:], math.Float64bits(2.5))
	binary.LittleEndian.PutUint16(row[1:], 0xfffe)
	a := &joblib.Array{Type: record, Shape: []int{2}, Data: append(row, row...)}
	if got, err := a.Floats("f"); err != nil || !cmp.Equal(got, []float64{2.5, 2.5}) {
		t.Errorf("field f: %v, %v", got, err)
	}
	if got, err := a.Ints("i"); err != nil || !cmp.Equal(got, []int64{-2, -2}) {
		t.Errorf("field i: %v, %v", got, err)
	}
	if got, err := a.Floats("i"); err != nil || !cmp.Equal(got, []float64{-2, -2}) {
		t.Errorf("field i as floats: %v, %v", got, err)
	}
	for _, c := range []struct {
		name string
		a    *joblib.Array
		f    string
		want error
	}{
		{"no such field", a, "x", joblib.ErrMalformed},
		{"floats as ints", a, "f", joblib.ErrMalformed},
		{"records as ints", a, "", joblib.ErrMalformed},
		{"an array that never got its state", &joblib.Array{}, "", joblib.ErrMalformed},
	} {
		if _, err := c.a.Ints(c.f); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	// numpy.array([[[0,1,2],[3,4,5]],[[6,7,8],[9,10,11]]], order="F").tobytes("A")
	cube := &joblib.Array{Type: &joblib.DType{Kind: 'u', Size: 1}, Shape: []int{2, 2, 3}, Fortran: true, Data: []byte{0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11}}
	if got, err := cube.Ints(""); err != nil || !cmp.Equal(got, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}) {
		t.Errorf("Fortran's order: %v, %v", got, err)
	}
	line := &joblib.Array{Type: &joblib.DType{Kind: 'u', Size: 1}, Shape: []int{1, 3, 1}, Fortran: true, Data: []byte{1, 2, 255}}
	if got, err := line.Ints(""); err != nil || !cmp.Equal(got, []int64{1, 2, 255}) {
		t.Errorf("a line in Fortran's order: %v, %v", got, err)
	}
	float32s := &joblib.Array{Type: &joblib.DType{Kind: 'f', Size: 4}, Shape: []int{1}, Data: binary.LittleEndian.AppendUint32(nil, math.Float32bits(0.1))}
	if got, err := float32s.Floats(""); err != nil || got[0] != float64(float32(0.1)) {
		t.Errorf("float32: %v, %v", got, err)
	}
}
