package detector_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"modelbucket/detector"
)

// readAll returns the events of a body as JSON, and what ended it (nil: its end).
func readAll(body io.Reader, f detector.Format) (events []string, members map[string]string, err error) {
	r := detector.NewReader(body, f)
	for {
		e, err := r.Next()
		if err != nil {
			if r.Members() != nil {
				members = map[string]string{}
			}
			for name, value := range r.Members() {
				members[name] = string(value)
			}
			if err == io.EOF {
				err = nil
			}
			return events, members, err
		}
		if e.Index != len(events) {
			return events, nil, fmt.Errorf("event %d has the index %d", len(events), e.Index)
		}
		events = append(events, string(e.AppendJSON(nil)))
	}
}

func TestReader(t *testing.T) {
	type members = map[string]string
	for _, c := range []struct {
		name    string
		format  detector.Format
		body    string
		events  []string
		members members
	}{
		{"array", detector.JSON, ` [ {"a":1} , {"a" : 2.50,"b":"\u00e9"}, 7, null ] `, []string{`{"a":1}`, `{"a" : 2.50,"b":"\u00e9"}`, `7`, `null`}, nil},
		{"empty array", detector.JSON, `[]`, nil, nil},
		{"object", detector.JSON, `{"label":"v1","network_data":[{"a":1},{}],"features":[ "a" ],"x":{"y":[1]}}`, []string{`{"a":1}`, `{}`}, members{"label": `"v1"`, "features": `[ "a" ]`, "x": `{"y":[1]}`}},
		{"object without others", detector.JSON, `{"network_data":[]}`, nil, members{}},
		{"rows", detector.JSON, `{"rows":[[1,2],[3,null]],"a":1}`, []string{`[1,2]`, `[3,null]`}, members{"a": `1`}},
		{"lines", detector.NDJSON, "{\"a\":1}\n\r\n  \n {\"a\": [1,\t2]} \r\n7", []string{`{"a":1}`, "{\"a\": [1,\t2]}", `7`}, nil},
		{"no lines", detector.NDJSON, "", nil, nil},
		{"CSV", detector.CSV, "a,b,\"c \"\"d\"\"\"\n1,x,\n-0.5e3,\"1,5\",007\n\n,\"\n\",1.\n",
			[]string{`{"a":1,"b":"x","c \"d\"":null}`, `{"a":-0.5e3,"b":"1,5","c \"d\"":"007"}`, `{"a":null,"b":"\n","c \"d\"":"1."}`}, nil},
		{"CSV, wrong number of cells", detector.CSV, "a,b\n1\n2,3\n4,5,6\n", []string{`["1"]`, `{"a":2,"b":3}`, `["4","5","6"]`}, nil},
		{"CSV from a spreadsheet", detector.CSV, "\ufeffa,b\r\n1,2\r\n", []string{`{"a":1,"b":2}`}, nil},
		{"CSV, only a header", detector.CSV, "a,b", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, body := range map[string]io.Reader{
				"at once": strings.NewReader(c.body), "byte by byte": iotest.OneByteReader(strings.NewReader(c.body)),
			} {
				events, members, err := readAll(body, c.format)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if diff := cmp.Diff(c.events, events); diff != "" {
					t.Errorf("%s: events (-want +got):\n%s", name, diff)
				}
				if diff := cmp.Diff(c.members, members); diff != "" {
					t.Errorf("%s: members (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

// TestReaderRefuses: a malformed body ends with an error that says where.
func TestReaderRefuses(t *testing.T) {
	deep := strings.Repeat("[", 20_000)
	for _, c := range []struct {
		name   string
		format detector.Format
		body   string
		events int // before the error
		want   error
		text   string
	}{
		{"nothing", detector.JSON, "", 0, detector.ErrBadBody, "it is empty"},
		{"a number", detector.JSON, "7", 0, detector.ErrBadBody, "it is a number"},
		{"no array", detector.JSON, `{"network_data":{"a":1}}`, 0, detector.ErrBadBody, "network_data is an object"},
		{"no events", detector.JSON, `{"a":1}`, 0, detector.ErrBadBody, `without "network_data" or "rows"`},
		{"two arrays", detector.JSON, `{"network_data":[{}],"rows":[]}`, 1, detector.ErrBadBody, `both "network_data" and "rows"`},
		{"an array twice", detector.JSON, `{"rows":[[1]],"rows":[]}`, 1, detector.ErrBadBody, `the name "rows" is there twice`},
		{"a member twice", detector.JSON, `{"a":1,"network_data":[{}],"a":2}`, 1, detector.ErrBadBody, `byte 27: the name "a" is there twice`},
		{"a name twice", detector.JSON, `[{"a":1},{"a":1,"\u0061":2}]`, 1, detector.ErrBadBody, `event 1, byte 16: the name "a" is there twice`},
		{"a name twice, inside", detector.JSON, `[{"b":{"a":1,"a":2}}]`, 0, detector.ErrBadBody, `the name "a" is there twice`},
		{"cut in an event", detector.JSON, `[{"a":1},{"a":`, 1, detector.ErrBadBody, "event 1, byte 14: it ends too early"},
		{"cut after an event", detector.JSON, `[{"a":1},`, 1, detector.ErrBadBody, "ends too early"},
		{"cut after the events", detector.JSON, `{"rows":[[1]]`, 1, detector.ErrBadBody, "ends too early"},
		{"more behind", detector.JSON, `[{"a":1}] []`, 1, detector.ErrBadBody, "something follows the end"},
		{"rubbish behind", detector.JSON, `[{"a":1}]x`, 1, detector.ErrBadBody, "byte 9"},
		{"comma at the end", detector.JSON, `[{"a":1},]`, 1, detector.ErrBadBody, "byte 8"},
		{"NaN", detector.JSON, `[{"a":NaN}]`, 0, detector.ErrBadBody, "event 0, byte 6"},
		{"leading zero", detector.JSON, `[{"a":01}]`, 0, detector.ErrBadBody, "byte 7"},
		{"invalid UTF-8", detector.JSON, "[{\"a\":\"\xff\"}]", 0, detector.ErrBadBody, "UTF-8"},
		{"half a character", detector.JSON, `[{"a":"\ud800"}]`, 0, detector.ErrBadBody, "event 0"},
		{"too deep to read", detector.JSON, "[{\"a\":" + deep, 0, detector.ErrBadBody, "depth"},
		{"too long an event", detector.JSON, `[{"a":1},{"a":"` + strings.Repeat("x", detector.MaxEvent) + `"}]`, 1, detector.ErrTooLarge, "event 1 has more than 1048576 bytes"},
		{"too long members", detector.JSON, `{"a":"` + strings.Repeat("x", detector.MaxMembers/2) + `","network_data":[{}],"b":"` + strings.Repeat("x", detector.MaxMembers/2) + `"}`, 1, detector.ErrTooLarge, "the members beside the events"},
		{"endless space", detector.JSON, `[{"a":1}]` + strings.Repeat(" ", detector.MaxMembers+1), 1, detector.ErrTooLarge, "more than"},
		{"a bad line", detector.NDJSON, "{}\n\n{\"a\":}\n{}", 1, detector.ErrBadBody, "line 3, byte 5"},
		{"half a line", detector.NDJSON, "{}\n{\"a\":1", 1, detector.ErrBadBody, "line 2, byte 6: it ends too early"},
		{"two on a line", detector.NDJSON, "{} {}\n", 0, detector.ErrBadBody, "line 1: something follows"},
		{"an event on two lines", detector.NDJSON, "{\n}\n", 0, detector.ErrBadBody, "line 1, byte 2: it ends too early"},
		{"too long a line", detector.NDJSON, "{}\n" + strings.Repeat(" ", detector.MaxEvent+1), 1, detector.ErrTooLarge, "line 2"},
		{"no header", detector.CSV, "\n\n", 0, detector.ErrBadBody, "it is empty"},
		{"a column twice", detector.CSV, "a,b,a\n1,2,3\n", 0, detector.ErrBadBody, `the column "a" twice`},
		{"a stray quote", detector.CSV, "a,b\n1,2\n1,x\"\n", 1, detector.ErrBadBody, "line 3, column 4"},
		{"an open quote", detector.CSV, "a,b\n1,2\n1,\"x\n", 1, detector.ErrBadBody, "line 3"},
		{"CSV that is no UTF-8", detector.CSV, "a,b\n1,2\n1,\xff\n", 1, detector.ErrBadBody, "line 3, column 3: invalid UTF-8"},
		{"too long a record", detector.CSV, "a,b\n1,\"" + strings.Repeat("x\n", detector.MaxEvent) + "\"\n", 0, detector.ErrTooLarge, "event 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			events, _, err := readAll(strings.NewReader(c.body), c.format)
			if len(events) != c.events {
				t.Errorf("%d events before the error, want %d", len(events), c.events)
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

// TestReaderPassesErrors: what breaks the body itself is not called malformed.
func TestReaderPassesErrors(t *testing.T) {
	broken := errors.New("line broken")
	for format, body := range map[detector.Format]string{
		detector.JSON: `[{"a":1},{"a`, detector.NDJSON: "{\"a\":1}\n{\"a", detector.CSV: "a\n1\n2",
	} {
		events, _, err := readAll(io.MultiReader(strings.NewReader(body), iotest.ErrReader(broken)), format)
		if len(events) != 1 || !errors.Is(err, broken) || errors.Is(err, detector.ErrBadBody) {
			t.Errorf("%s: %d events and then %v, want 1 and %v", format, len(events), err, broken)
		}
	}
}

// TestReaderMemory: an endless body is read without holding it.
func TestReaderMemory(t *testing.T) {
	const events = 100_000
	for format, parts := range map[detector.Format][3]string{
		detector.JSON:   {`{"network_data":[{"a":1}`, `,{"a":1,"b":"some text that nobody wants"}`, `]}`},
		detector.NDJSON: {"{\"a\":1}\n", "{\"a\":1,\"b\":\"some text that nobody wants\"}\n", ""},
		detector.CSV:    {"a,b\n1,x\n", "1,some text that nobody wants\n", ""},
	} {
		r := detector.NewReader(io.MultiReader(strings.NewReader(parts[0]), &repeated{text: parts[1], times: events}, strings.NewReader(parts[2])), format)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n := 0
		for {
			_, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		runtime.ReadMemStats(&after)
		if n != events+1 {
			t.Errorf("%s: %d events, want %d", format, n, events+1)
		}
		limit := uint64(1 << 20)
		if format == detector.CSV {
			limit += 160 * events // the text of each record
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > limit {
			t.Errorf("%s: %d bytes allocated for %d events", format, allocated, n)
		}
	}
}

// repeated reads as text, times over.
type repeated struct {
	text  string
	times int
	rest  string
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.times == 0 {
			return 0, io.EOF
		}
		r.times--
		r.rest = r.text
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
