package joblib_test

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/detector/joblib"
)

// Pickles by hand: what pickletools calls each opcode is said beside it.
const (
	proto   = "\x80\x04"
	newobj  = ")\x81" // EMPTY_TUPLE NEWOBJ
	forest  = "csklearn.ensemble._iforest\nIsolationForest\n"
	dtypeF8 = "cnumpy\ndtype\n\x8c\x02f8\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
	rebuild = "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
	wrap    = "cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81"
)

// state of an array wrapper whose shape is (n,).
func state(n string) string {
	return "}(\x8c\x08subclasscnumpy\nndarray\n\x8c\x05shapeK" + n + "\x85\x8c\x05order\x8c\x01C\x8c\x05dtype" + dtypeF8 +
		"\x8c\nallow_mmap\x89\x8c\x1bnumpy_array_alignment_bytesK\x10u"
}

func TestReadValues(t *testing.T) {
	huge := new(big.Int).Lsh(big.NewInt(1), 64)
	shared := &joblib.List{Items: []any{int64(1)}}
	for _, c := range []struct {
		name, pickle string
		want         any
	}{
		{"numbers", proto + "(K\xffM\xff\xffJ\xff\xff\xff\xff\x8a\x01\x80\x8b\x02\x00\x00\x00\x00\x80G\x3f\xe0\x00\x00\x00\x00\x00\x00t.",
			joblib.Tuple{int64(255), int64(65535), int64(-1), int64(-128), int64(-32768), 0.5}},
		{"no bytes of an integer", proto + "\x8a\x00.", int64(0)},
		{"beyond int64", proto + "\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.", huge},
		{"text", proto + "(\x8c\x02\xc3\x9fX\x01\x00\x00\x00a\x8d\x01\x00\x00\x00\x00\x00\x00\x00bU\x01ct.", joblib.Tuple{"ß", "a", "b", "c"}},
		{"bytes", proto + "(C\x01aB\x01\x00\x00\x00b\x8e\x01\x00\x00\x00\x00\x00\x00\x00c\x96\x01\x00\x00\x00\x00\x00\x00\x00dt.",
			joblib.Tuple{[]byte("a"), []byte("b"), []byte("c"), []byte("d")}},
		{"one list twice", proto + "(]\x94K\x01ah\x00t.", joblib.Tuple{shared, shared}},
		{"a set", proto + "\x8f(K\x01\x90.", &joblib.List{Items: []any{int64(1)}}},
		{"a value dropped", proto + "K\x01K\x020.", int64(1)},
		{"values dropped", proto + "K\x01(K\x02K\x031.", int64(1)},
		{"a value doubled", proto + "K\x012\x86.", joblib.Tuple{int64(1), int64(1)}},
		{"bytes of protocol 2", "\x80\x02c_codecs\nencode\nX\x02\x00\x00\x00\xc3\xbfX\x06\x00\x00\x00latin1\x86R.", []byte{0xff}},
		{"no bytes of protocol 2", "\x80\x02c__builtin__\nbytes\n)R.", []byte{}},
		{"a numpy scalar", proto + "cnumpy._core.multiarray\nscalar\n" + dtypeF8 + "C\x08\x00\x00\x00\x00\x00\x00\xe0\x3f\x86R.", 0.5},
		{"a key that is no text", proto + "}K\x01K\x01\x86K\x02s.", &joblib.Dict{Keys: []any{joblib.Tuple{int64(1), int64(1)}}, Values: []any{int64(2)}}},
		{"an array by pickle itself", proto + rebuild + "(K\x01K\x01\x85" + dtypeF8 + "\x89C\x08\x00\x00\x00\x00\x00\x00\xe0\x3ftb.",
			&joblib.Array{Type: &joblib.DType{Kind: 'f', Size: 8}, Shape: []int{1}, Data: []byte("\x00\x00\x00\x00\x00\x00\xe0\x3f")}},
		{"an array by joblib", proto + wrap + state("\x01") + "b\x02\xff\xff\x00\x00\x00\x00\x00\x00\xe0\x3f.",
			&joblib.Array{Type: &joblib.DType{Kind: 'f', Size: 8}, Shape: []int{1}, Data: []byte("\x00\x00\x00\x00\x00\x00\xe0\x3f")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := read([]byte(c.pickle))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, compared, cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct {
		name, pickle string
		want         error
		says         string
	}{
		{"nothing", "", joblib.ErrMalformed, "does not begin"},
		{"text", "version https://example.com/", joblib.ErrMalformed, "does not begin"},
		{"a class of protocol 0", "cos\nsystem\n.", joblib.ErrUnsupported, "os.system"},
		{"opcodes of protocol 4 in protocol 0", "(\x88t.", joblib.ErrNoPickle, "in protocol 0 or 1"},
		{"protocol 6", "\x80\x06N.", joblib.ErrUnsupported, "protocol 6"},
		{"a second PROTO", proto + proto + "N.", joblib.ErrMalformed, "opcode 0x80"},
		{"no STOP", proto + "N", joblib.ErrMalformed, "ends early"},
		{"an empty stack at STOP", proto + ".", joblib.ErrMalformed, "0 values"},
		{"a mark left", proto + "N(.", joblib.ErrMalformed, "1 marks"},
		{"something after STOP", proto + "N.N", joblib.ErrMalformed, "1 bytes after its end"},
		{"an object from elsewhere", proto + "NQ.", joblib.ErrMalformed, "opcode 0x51"},
		{"old instances", proto + "(ios\nsystem\n.", joblib.ErrMalformed, "opcode 0x69"},
		{"an extension code", proto + "\x82\x01.", joblib.ErrMalformed, "opcode 0x82"},
		{"popping a mark", proto + "N(0.", joblib.ErrMalformed, "values wanted"},
		{"a tuple across a mark", proto + "N(N\x86.", joblib.ErrMalformed, "values wanted"},
		{"a dict with an odd value", proto + "}(Nu.", joblib.ErrMalformed, "without value"},
		{"items for a tuple", proto + ")Na.", joblib.ErrMalformed, "items for a tuple"},
		{"an index for a list", proto + "]K\x00Ns.", joblib.ErrMalformed, "entries for a list"},
		{"a dict as a key", proto + "}}Ns.", joblib.ErrMalformed, "as a key"},
		{"a class outside the list", proto + "cos\nsystem\n.", joblib.ErrUnsupported, "os.system"},
		{"a class by dots", proto + "\x8c\x05numpy\x8c\x0ef2py.os.system\x93.", joblib.ErrUnsupported, "numpy.f2py.os.system"},
		{"a class named by numbers", proto + "K\x01K\x02\x93.", joblib.ErrMalformed, "named by"},
		{"a class with a terminal's escape", proto + "\x8c\x02\x1b[\x8c\x01x\x93.", joblib.ErrUnsupported, `\x1b[.x`},
		{"a name without end", proto + "c" + strings.Repeat("x", 5000), joblib.ErrMalformed, "without end"},
		{"an array made by NEWOBJ", proto + "cnumpy\nndarray\n" + newobj + ".", joblib.ErrMalformed, "unusual arguments"},
		{"an estimator with arguments", proto + forest + "K\x01\x85\x81.", joblib.ErrMalformed, "unusual arguments"},
		{"an estimator called", proto + forest + ")R.", joblib.ErrMalformed, "unusual arguments"},
		{"two states", proto + forest + newobj + "}b}b.", joblib.ErrMalformed, "built twice"},
		{"a state that is no dict", proto + forest + newobj + "]b.", joblib.ErrMalformed, "as its state"},
		{"attributes without names", proto + forest + newobj + "}K\x01Nsb.", joblib.ErrMalformed, "no name"},
		{"state for a class", proto + forest + "}b.", joblib.ErrMalformed, "state for the class"},
		{"state for a dict", proto + "}}b.", joblib.ErrMalformed, "state for a dict"},
		{"a frame in a frame", proto + "\x95\x0a\x00\x00\x00\x00\x00\x00\x00\x95\x01\x00\x00\x00\x00\x00\x00\x00N.", joblib.ErrMalformed, "frame within"},
		{"a frame too long", proto + "\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", joblib.ErrMalformed, "2 left"},
		{"an empty frame", proto + "\x95\x00\x00\x00\x00\x00\x00\x00\x00N.", joblib.ErrMalformed, "frame of 0"},
		{"text across a frame's end", proto + "\x95\x03\x00\x00\x00\x00\x00\x00\x00\x8c\x02a" + "b.", joblib.ErrMalformed, "ends early"},
		{"a name across a frame's end", proto + "\x95\x03\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.", joblib.ErrMalformed, "without end"},
		{"a frame after STOP", proto + "\x95\x04\x00\x00\x00\x00\x00\x00\x00N.NN", joblib.ErrMalformed, "2 bytes in the frame"},
		{"text longer than the file", proto + "X\xff\xff\xff\xffa.", joblib.ErrMalformed, "ends early"},
		{"an integer too long", proto + "\x8b\x01\x01\x00\x00" + strings.Repeat("1", 257) + ".", joblib.ErrTooLarge, "integer of 257"},
		{"a memo entry too high", proto + "Nr\xff\xff\xff\xff.", joblib.ErrTooLarge, "memo entry"},
		{"a memo entry that is not there", proto + "h\x05.", joblib.ErrMalformed, "never stored"},
		{"a codec that unpacks", proto + "c_codecs\nencode\n\x8c\x01a\x8c\x04zlib\x86R.", joblib.ErrMalformed, "unusual arguments"},
		{"a numpy type by commas", proto + "cnumpy\ndtype\n\x8c\x05f8,f8\x89\x88\x87R.", joblib.ErrUnsupported, "numpy type"},
		{"a numpy type of 0 bytes", proto + "cnumpy\ndtype\n\x8c\x02V0\x89\x88\x87R.", joblib.ErrUnsupported, "numpy type"},
		{"a number of another size", proto + "cnumpy.core.multiarray\nscalar\n" + dtypeF8 + "C\x04abcd\x86R.", joblib.ErrMalformed, "unusual arguments"},
		{"an array of other bytes", proto + rebuild + "(K\x01K\x02\x85" + dtypeF8 + "\x89C\x08abcdefghtb.", joblib.ErrMalformed, "in 8 bytes"},
		{"an array within its frame", proto + "\x95\xff\x00\x00\x00\x00\x00\x00\x00" + wrap + state("\x01") + "b\x01\xffabcdefgh." + strings.Repeat("N", 255),
			joblib.ErrMalformed, "does not end its frame"},
		{"an array beyond the file", proto + wrap + state("\x02") + "b\x01\xffabcdefgh.", joblib.ErrMalformed, "16 bytes wanted"},
		{"no padding", proto + wrap + state("\x01") + "b\x00abcdefgh.", joblib.ErrMalformed, "padding"},
		{"padding that is opcodes", proto + wrap + state("\x01") + "b\x02N.abcdefgh.", joblib.ErrMalformed, "padding"},
		{"an array fetched early", proto + wrap + "\x94" + state("\x01") + "h\x00.", joblib.ErrMalformed, "before it is there"},
		{"an array doubled early", proto + wrap + "2.", joblib.ErrMalformed, "before it is there"},
		{"too many values", proto + strings.Repeat("N", 60_000), joblib.ErrTooLarge, "stack"},
		{"too many marks", proto + strings.Repeat("(", 20_000), joblib.ErrTooLarge, "marks"},
		{"too much work", proto + strings.Repeat("N0", 3_000_000), joblib.ErrTooLarge, "opcodes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read([]byte(c.pickle))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %v that says %q", err, c.want, c.says)
			}
		})
	}
}

// Of a class that is not read its name is known, where the file is one instance of it.
func TestGlobalErrorNamesTheRoot(t *testing.T) {
	pipeline := joblib.Global{Module: "sklearn.pipeline", Name: "Pipeline"}
	other := joblib.Global{Module: "sklearn.svm", Name: "SVC"}
	for _, c := range []struct {
		name, pickle string
		root         joblib.Global
	}{
		{"an instance", "\x80\x02csklearn.svm\nSVC\nq\x00)\x81}b.", other},
		{"an instance by protocol 4", proto + "\x8c\x0bsklearn.svm\x94\x8c\x03SVC\x94\x93\x94)\x81}b.", other},
		{"an instance within another", proto + "csklearn.pipeline\nPipeline\n)\x81}\x8c\x01scsklearn.svm\nSVC\n)\x81sb.", pipeline},
		{"an instance in a list", proto + "]csklearn.svm\nSVC\n)\x81a.", joblib.Global{}},
		{"the class itself", proto + "csklearn.svm\nSVC\n.", joblib.Global{}},
		{"a call", proto + "csklearn.svm\nSVC\n)R.", joblib.Global{}},
	} {
		_, err := read([]byte(c.pickle))
		got, ok := errors.AsType[*joblib.GlobalError](err)
		if !ok || got.Global != other || got.Root != c.root {
			t.Errorf("%s: %+v, want %v in %v", c.name, err, other, c.root)
		}
	}
}

// A file that unpacks to more than the limit is given up when it does, not when it ends.
func TestReadStopsAtTheLimit(t *testing.T) {
	var bomb bytes.Buffer
	z := zlib.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	if _, err := io.WriteString(z, manyBytes); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{
		"a bomb":             bytes.NewReader(bomb.Bytes()),
		"a file without end": io.MultiReader(strings.NewReader(manyBytes), endless{}),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := joblib.Read(r, 1<<20)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, joblib.ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
			t.Errorf("%s: %d bytes allocated", name, got)
		}
	}
	exact := dumped(t, "text")
	plain := proto + "\x95\x09\x00\x00\x00\x00\x00\x00\x00" // as long as what is in exact
	if _, err := joblib.Read(bytes.NewReader(exact), int64(len(plain)+8)); err != nil {
		t.Errorf("a file of just the limit: %v", err)
	}
	if _, err := joblib.Read(bytes.NewReader(exact), int64(len(plain)+7)); !errors.Is(err, joblib.ErrTooLarge) {
		t.Errorf("one byte above the limit: %v, want ErrTooLarge", err)
	}
}

// manyBytes begins a pickle of 2^30 bytes.
const manyBytes = proto + "\x8e\x00\x00\x00\x40\x00\x00\x00\x00"

// A file that is refused for how it begins is not read to its end.
func TestReadGivesUpEarly(t *testing.T) {
	other := proto + "csklearn.ensemble._forest\nRandomForestClassifier\n)\x81" + manyBytes[2:]
	for name, test := range map[string]struct {
		beginning string
		want      error
	}{
		"no pickle":          {"", joblib.ErrUnsupported},
		"another class":      {other, joblib.ErrUnsupported},
		"a broken pickle":    {proto + "N0000", joblib.ErrMalformed},
		"an ended pickle":    {proto + "N.", joblib.ErrMalformed},
		"a broken container": {"BZ", joblib.ErrMalformed},
	} {
		r := &counted{Reader: io.MultiReader(strings.NewReader(test.beginning), endless{})}
		_, err := joblib.Read(r, 1<<30)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if r.n > 1<<20 {
			t.Errorf("%s: %d bytes were read", name, r.n)
		}
	}
}

type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// What is read step by step is what is read at once, wherever a step ends.
func TestReadInSteps(t *testing.T) {
	long := strings.Repeat("text", 50_000)
	values := &joblib.List{}
	for i := range 50_000 {
		values.Items = append(values.Items, int64(i), long[:i%300])
	}
	got, err := joblib.Read(bytes.NewReader(dumped(t, values)), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(values), got.Root, compared); diff != "" {
		t.Error(diff)
	}
}

// endless yields what is no container's beginning.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 0x80
	}
	return len(p), nil
}

// The checksum at the very end of a compressed file counts, and nothing may follow.
func TestReadRefusesDamagedContainers(t *testing.T) {
	good := dumped(t, "text")
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, b := range map[string][]byte{
		"a wrong checksum":   flipped,
		"a missing checksum": good[:len(good)-2],
		"a byte more":        append(bytes.Clone(good), 0),
		"two streams":        append(bytes.Clone(good), good...),
		"a head alone":       good[:2],
	} {
		if _, err := read(b); !errors.Is(err, joblib.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

// FuzzRead: whatever the bytes are, they are a value, or refused by one of the three
// errors.
func FuzzRead(f *testing.F) {
	paths, err := filepath.Glob("testdata/hostile/*.joblib")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 20_000 {
			f.Add(b)
		}
	}
	f.Add([]byte(proto + wrap + state("\x01") + "b\x02\xff\xff\x00\x00\x00\x00\x00\x00\xe0\x3f."))
	f.Add(dumped(f, joblib.Tuple{"text", joblib.Int64(1), &joblib.List{Items: []any{nil, true, 1.5}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := joblib.Read(bytes.NewReader(b), 1<<20)
		if err != nil && !errors.Is(err, joblib.ErrMalformed) && !errors.Is(err, joblib.ErrUnsupported) && !errors.Is(err, joblib.ErrTooLarge) {
			t.Errorf("an error of no kind: %v", err)
		}
	})
}
