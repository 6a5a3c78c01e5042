package joblib_test

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/detector/joblib"
)

// instance is how protocols 0 and 1 make one, where others have NEWOBJ.
const instance = "ccopy_reg\n_reconstructor\np0\n(csklearn.ensemble._iforest\nIsolationForest\np1\nc__builtin__\nobject\np2\nNtp3\nRp4\n"

func TestReadText(t *testing.T) {
	for _, c := range []struct {
		name, pickle string
		want         any
	}{
		{"None", "N.", nil},
		{"numbers", "(I7\nI-7\nI00\nI01\nL5L\nL-5L\nL99999999999999999999L\nF0.5\nF-1e-300\nFinf\nK\xffJ\xff\xff\xff\xfft.",
			joblib.Tuple{int64(7), int64(-7), false, true, int64(5), int64(-5), mustInt("99999999999999999999"), 0.5, -1e-300, math.Inf(1), int64(255), int64(-1)}},
		{"text", "(Vabc\nV\xfc\\u20ac\\U0001f600\\\\u005c\nS'it'\nS\"it\"\nt.", joblib.Tuple{"abc", "ü€😀\\\\", "it", "it"}},
		{"a list", "(lp0\nI1\naI2\na.", &joblib.List{Items: []any{int64(1), int64(2)}}},
		{"a list at once", "(I1\nI2\nl.", &joblib.List{Items: []any{int64(1), int64(2)}}},
		{"a dict", "(dp0\nVa\nI1\ns.", dict("a", int64(1))},
		{"a dict at once", "(Va\nI1\nVb\nI2\nd.", dict("a", int64(1), "b", int64(2))},
		{"one value twice", "((lp5\ng5\nt.", joblib.Tuple{&joblib.List{}, &joblib.List{}}},
		{"a list of protocol 1", "](K\x01K\x02e.", &joblib.List{Items: []any{int64(1), int64(2)}}},
		{"bytes", "c_codecs\nencode\n(V\xfcb\nVlatin1\ntR.", []byte{0xfc, 'b'}},
		{"a set", "c__builtin__\nset\n((I1\nltR.", &joblib.List{Items: []any{int64(1)}}},
		{"an instance", instance + "(dVx\nI1\nsb.",
			&joblib.Object{Class: joblib.Global{Module: "sklearn.ensemble._iforest", Name: "IsolationForest"}, State: dict("x", int64(1))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := joblib.Read(strings.NewReader(c.pickle), limit)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, f.Root, compared, cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !cmp.Equal(f.Protocols, []int{0}) {
				t.Errorf("protocols %v", f.Protocols)
			}
		})
	}
}

func mustInt(s string) *big.Int {
	v, ok := new(big.Int).SetString(s, 10)
	if !ok {
		panic(s)
	}
	return v
}

func TestReadRefusesText(t *testing.T) {
	for _, c := range []struct {
		name, pickle string
		want         error
		says         string
	}{
		{"a number without digits", "I\n.", joblib.ErrNoPickle, "number"},
		{"a number with a sign too many", "I--1\n.", joblib.ErrNoPickle, "number"},
		{"a number with underscores", "I1_0\n.", joblib.ErrNoPickle, "number"},
		{"a number of too many digits", "L" + strings.Repeat("9", 41) + "L\n.", joblib.ErrNoPickle, "number"},
		{"a fraction by powers of two", "F0x1p4\n.", joblib.ErrNoPickle, "number"},
		{"a fraction beyond float64", "F1e999\n.", joblib.ErrNoPickle, "number"},
		{"half a character", "V\\ud800\n.", joblib.ErrNoPickle, "text"},
		{"a character that is none", "V\\U00110000\n.", joblib.ErrNoPickle, "text"},
		{"a character cut short", "V\\u00\n.", joblib.ErrNoPickle, "text"},
		{"quotes that do not end", "S'a\n.", joblib.ErrNoPickle, "quotes"},
		{"quotes with an escape", "S'\\x41'\n.", joblib.ErrNoPickle, "quotes"},
		{"a memo entry that is no number", "Np-1\n.", joblib.ErrNoPickle, "memo"},
		{"a memo entry too high", "Np4000001\n.", joblib.ErrTooLarge, "memo"},
		{"a line without end", "V" + strings.Repeat("x", 5000), joblib.ErrNoPickle, "without end"},
		{"an instance of what is none", "ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.", joblib.ErrMalformed, "unusual"},
		{"an instance with another base", "ccopy_reg\n_reconstructor\n(csklearn.pipeline\nPipeline\ncnumpy\nndarray\nNtR.", joblib.ErrMalformed, "unusual"},
		{"an instance with a state at once", "ccopy_reg\n_reconstructor\n(csklearn.pipeline\nPipeline\nc__builtin__\nobject\n(dtR.", joblib.ErrMalformed, "unusual"},
		{"an object alone", "c__builtin__\nobject\n(tR.", joblib.ErrMalformed, "unusual"},
		{"a table", "Id,amount\n1,2\n", joblib.ErrNoPickle, "number"},
		{"a text", "Name of a flower: it is an iris.\n", joblib.ErrNoPickle, "stack"},
		{"a document", `{"a":1}`, joblib.ErrNoPickle, "begin"},
		{"nothing at all", "", joblib.ErrNoPickle, "begin"},
		{"something packed", "xylophone", joblib.ErrNoPickle, "zlib"},
	} {
		_, err := joblib.Read(strings.NewReader(c.pickle), limit)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v that says %q", c.name, err, c.want, c.says)
		}
	}
}

// What an instance of an unknown class is called is known in protocol 0, too.
func TestTextNamesTheRoot(t *testing.T) {
	svc := joblib.Global{Module: "sklearn.svm", Name: "SVC"}
	other := strings.Replace(instance, "sklearn.ensemble._iforest\nIsolationForest", "sklearn.svm\nSVC", 1)
	for pickle, root := range map[string]joblib.Global{other + "(db.": svc, "(lp9\n" + other + "(dba.": {}} {
		f, err := joblib.Read(strings.NewReader(pickle), limit)
		got, ok := errors.AsType[*joblib.GlobalError](err)
		if !ok || got.Global != svc || got.Root != root || got.At == 0 {
			t.Errorf("%+v, want %v in %v", err, svc, root)
		}
		if f.Root != nil || len(f.Globals) != 2 || f.Globals[1] != svc {
			t.Errorf("read %v, naming %v", f.Root, f.Globals)
		}
	}
}

// Arrays without padding are read, and told of.
func TestUnpaddedArrays(t *testing.T) {
	const key = "\x8c\x1bnumpy_array_alignment_bytes"
	data := "\x00\x00\x00\x00\x00\x00\xe0\x3f"
	for _, c := range []struct {
		name, pickle, version string
		unpadded              int
	}{
		{"of old joblib", proto + wrap + strings.Replace(state("\x01"), key+"K\x10", "", 1) + "b" + data + ".", "<1.2", 1},
		{"to where there are no positions", proto + wrap + strings.Replace(state("\x01"), key+"K\x10", key+"N", 1) + "b" + data + ".", ">=1.2", 1},
		{"padded", proto + wrap + state("\x01") + "b\x01\xff" + data + ".", ">=1.2", 0},
		{"none", proto + "N.", "", 0},
		{"of both", proto + wrap + strings.Replace(state("\x01"), key+"K\x10", "", 1) + "b" + data + wrap + state("\x01") + "b\x01\xff" + data + "\x86.", "", 1},
	} {
		f, err := joblib.Read(strings.NewReader(c.pickle), limit)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if a, ok := f.Root.(*joblib.Array); ok && !bytes.Equal(a.Data, []byte(data)) {
			t.Errorf("%s: holds %x", c.name, a.Data)
		}
		if f.JoblibVersion() != c.version || f.Unpadded != c.unpadded {
			t.Errorf("%s: joblib %q, %d unpadded; want %q, %d", c.name, f.JoblibVersion(), f.Unpadded, c.version, c.unpadded)
		}
	}
	if _, err := joblib.Read(strings.NewReader(proto+wrap+strings.Replace(state("\x01"), key+"K\x10", key+"K\x20", 1)+"b\x01\xff"+data+"."), limit); !errors.Is(err, joblib.ErrUnsupported) {
		t.Errorf("another alignment: %v", err)
	}
}

// A memo is mostly filled in order, but need not be.
func TestMemo(t *testing.T) {
	got, err := read([]byte(proto + "(K\x01q\x03K\x02\x94K\x03q\x00K\x04q\x02K\x05q\x03h\x03h\x01h\x00h\x02t."))
	if err != nil {
		t.Fatal(err)
	}
	want := joblib.Tuple{int64(1), int64(2), int64(3), int64(4), int64(5), int64(5), int64(2), int64(3), int64(4)}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
