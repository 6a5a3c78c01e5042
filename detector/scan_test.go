package detector_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"modelbucket/detector"
	"modelbucket/detector/forest"
)

// decoded is what the strict decoder alone makes of a body: its events, up to the first
// thing that is wrong.
func decoded(body []byte, f detector.Format) (events []string, ok bool) {
	if f == detector.NDJSON {
		for line := range bytes.Lines(body) {
			if len(bytes.Trim(line, " \t\r\n")) == 0 {
				continue
			}
			d := jsontext.NewDecoder(bytes.NewReader(line))
			v, err := d.ReadValue()
			if err != nil {
				return events, false
			}
			text := string(v)
			if _, err := d.ReadToken(); err != io.EOF {
				return events, false
			}
			events = append(events, text)
		}
		return events, true
	}
	d := jsontext.NewDecoder(bytes.NewReader(body))
	array := func() bool {
		if t, err := d.ReadToken(); err != nil || t.Kind() != '[' {
			return false
		}
		for d.PeekKind() != ']' {
			v, err := d.ReadValue()
			if err != nil {
				return false
			}
			events = append(events, string(v))
		}
		_, err := d.ReadToken()
		return err == nil
	}
	switch d.PeekKind() {
	case '[':
		if !array() {
			return events, false
		}
	case '{':
		if _, err := d.ReadToken(); err != nil {
			return events, false
		}
		found := false
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return events, false
			}
			if n := name.String(); n == "network_data" || n == "rows" {
				if found || !array() {
					return events, false
				}
				found = true
			} else if err := d.SkipValue(); err != nil {
				return events, false
			}
		}
		if _, err := d.ReadToken(); err != nil || !found {
			return events, false
		}
	default:
		return events, false
	}
	_, err := d.ReadToken()
	return events, err == io.EOF
}

// anyBody draws bodies that are mostly right, and often only just wrong.
func anyBody(t *rapid.T) []byte {
	wrong := rapid.SampledFrom([]string{"", "", ",", "]", "}", "{", "[", ":", `"`, "x", "\x00", `"a":1`, "null", "\xff"})
	noise := func() string {
		if rapid.IntRange(0, 60).Draw(t, "wrong") > 0 {
			return rapid.SampledFrom([]string{"", "", "", " ", "\n", "\t \r"}).Draw(t, "space")
		}
		return wrong.Draw(t, "what")
	}
	name := rapid.SampledFrom([]string{`"a"`, `"b"`, `"a"`, `"b"`, `"c"`, `"ab"`, `""`, `"é"`, `"\u0061"`, "\"\xc3\"", "\"\t\"", `"a\"b"`, `"network_data"`})
	value := rapid.SampledFrom([]string{
		"1", "0", "-0", "12345.678", "0.1", "1e5", "-1E+2", "9007199254740993", "123456789012345678901", "1e400", "4.9e-324", "0.30000000000000004",
		"01", "1.", "-", ".5", "1e", "+1", "NaN", "true", "false", "null", "nul", `"x"`, `"é"`, "\"\xff\"", `"\ud800"`, "{}", "[1]", `{"a":1,"a":2}`,
	})
	var body strings.Builder
	event := func(row bool) {
		open, shut := "{", "}"
		if row {
			open, shut = "[", "]"
		}
		body.WriteString(open + noise())
		for i := range rapid.IntRange(0, 4).Draw(t, "members") {
			if i > 0 {
				body.WriteString("," + noise())
			}
			if !row {
				body.WriteString(name.Draw(t, "name") + noise() + ":" + noise())
			}
			body.WriteString(value.Draw(t, "value") + noise())
		}
		body.WriteString(shut)
	}
	head, tail := "[", "]"
	row := false
	switch rapid.IntRange(0, 3).Draw(t, "head") {
	case 1:
		head, tail = "{"+noise()+`"network_data"`+noise()+":"+noise()+"[", "]"+noise()+"}"
	case 2:
		head, tail, row = `{"rows":`+noise()+"[", `],"more":[1]}`, true
	case 3:
		head, tail = `{"x":1,"network_data":[`, "]}"
	}
	body.WriteString(noise() + head + noise())
	for i := range rapid.IntRange(0, 6).Draw(t, "events") {
		if i > 0 {
			body.WriteString(noise() + "," + noise())
		}
		event(row)
	}
	body.WriteString(noise() + tail + noise())
	return []byte(body.String())
}

// readsAsDecoder holds a Reader against the decoder: the same events, and as many
// before the end.
func readsAsDecoder(t rapid.TB, body []byte, f detector.Format) {
	t.Helper()
	want, ok := decoded(body, f)
	for name, from := range map[string]io.Reader{
		"at once": bytes.NewReader(body), "byte by byte": iotest.OneByteReader(bytes.NewReader(body)), "by halves": iotest.HalfReader(bytes.NewReader(body)),
	} {
		got, _, err := readAll(from, f)
		if (err == nil) != ok || !slices.Equal(got, want) {
			t.Fatalf("%s: %q: %q and %v; want %q, %v", name, body, got, err, want, ok)
		}
	}
}

func TestReaderReadsAsDecoder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := anyBody(t)
		readsAsDecoder(t, body, detector.JSON)
		readsAsDecoder(t, bytes.TrimSuffix(bytes.TrimPrefix(body, []byte("[")), []byte("]")), detector.NDJSON)
	})
}

func FuzzReaderReadsAsDecoder(f *testing.F) {
	for _, body := range []string{
		`[{"a":1,"b":-0.5e3},{"a":2,"b":null}]`, `{"network_data":[{"é":"x"}],"b":[]}`, `{"rows":[[1,2],[true,"x"]]}`, "{\"a\":1}\n\n{\"a\":2}",
		`[{"a":1},]`, `[{"a":1,"a":2}]`, `[{"a":1} {"a":2}]`, `[{"a":01}]`, `[{}{}]`, `[{"a":"\u0061"}]`,
	} {
		f.Add(body, false)
		f.Add(body, true)
	}
	f.Fuzz(func(t *testing.T, body string, lines bool) {
		if len(body) > 1<<10 {
			return // the bounds on sizes are another test's
		}
		format := detector.JSON
		if lines {
			format = detector.NDJSON
		}
		readsAsDecoder(t, []byte(body), format)
	})
}

// Long bodies are read across the ends of buffers, and what is not plain may come at any
// place.
func TestReaderReadsLongBodiesAsDecoder(t *testing.T) {
	for _, odd := range []string{"", `{"a":{"b":[1]}}`, `{"\u0061":1}`, `7`, `{"a":"` + strings.Repeat("x", 100_000) + `"}`, `{"a":1,"a":2}`, `{"a":1`} {
		var events []string
		for i := range 3000 {
			events = append(events, fmt.Sprintf(`{"a":%d, "name %d":%q}`, i, i%7, strings.Repeat("y", i%50)))
		}
		if odd != "" {
			events[2000] = odd
		}
		readsAsDecoder(t, []byte("["+strings.Join(events, " ,\n")+"]"), detector.JSON)
	}
}

// Numbers are those of strconv, to the bit: a training of one event keeps them.
func TestReaderReadsNumbersAsStrconv(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.OneOf(rapid.Float64(), rapid.Map(rapid.Int64(), func(i int64) float64 { return float64(i) / 1e6 })).Draw(t, "x")
		if !(math.Abs(x) < 1e100) { // which cannot be trained on
			x = 1 / x
		}
		text := strconv.FormatFloat(x, rapid.SampledFrom([]byte("efg")).Draw(t, "format"), rapid.IntRange(-1, 18).Draw(t, "digits"), 64)
		want, err := strconv.ParseFloat(text, 64)
		if err != nil || !json.Valid([]byte(text)) {
			t.Fatalf("%v is written %s: %v", x, text, err)
		}
		set, err := detector.Collect(t.Context(), detector.NewReader(strings.NewReader(`[{"x":`+text+`}]`), detector.JSON), detector.CollectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		trained, err := detector.Train(t.Context(), set, detector.TrainOptions{Features: []string{"x"}, Parameters: &forest.Params{Trees: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if got := trained.Record.Golden[0].Row[0]; math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%s is read as %v, want %v", text, got, want)
		}
	})
}
