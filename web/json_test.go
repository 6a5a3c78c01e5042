package web_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"modelbucket/registry"
	"modelbucket/web"
)

type document struct {
	Label  registry.Label    `json:"label"`
	Number int64             `json:"number"`
	Tags   map[string]string `json:"tags"`
	Raw    json.RawMessage   `json:"raw"`
	List   []document        `json:"list"`
}

func TestDecodeJSON(t *testing.T) {
	for _, row := range []struct{ name, text, code, says string }{
		{"empty object", `{}`, "", ""},
		{"space around it", " \n{}\r\n\t", "", ""},
		{"all fields", `{"label":"v1","number":7,"tags":{"a":"b"},"raw":{"x":[1,null,"é"]},"list":[{}]}`, "", ""},
		{"null is nothing", `{"label":null,"tags":null}`, "", ""},
		{"nothing", ``, "bad_request", "empty"},
		{"only space", "  \n", "bad_request", "empty"},
		{"cut off", `{"label":"v`, "bad_request", "breaks off"},
		{"cut off between", `{"number":1,`, "bad_request", "breaks off"},
		{"no JSON", `{label:1}`, "bad_request", "malformed at byte 1, line 1"},
		{"line of the fault", "{\n\"number\":\n1 1}", "bad_request", "line 3"},
		{"trailing document", `{} {}`, "bad_request", "goes on behind its end, at byte 3"},
		{"trailing text", `{}x`, "bad_request", "goes on"},
		{"trailing NUL", "{}\x00", "bad_request", "goes on"},
		{"byte order mark", "\ufeff{}", "bad_request", "malformed"},
		{"unknown field", `{"labell":"v1"}`, "bad_request", `unknown field "/labell"`},
		{"unknown field within", `{"list":[{"x":1}]}`, "bad_request", `unknown field "/list/0/x"`},
		{"other case", `{"Label":"v1"}`, "bad_request", `unknown field "/Label"`},
		{"key twice", `{"number":1,"number":2}`, "bad_request", `the key "number" twice`},
		{"key twice in other case", `{"number":1,"NUMBER":2}`, "bad_request", "twice"},
		{"key twice by escape", `{"number":1,"\u006eumber":2}`, "bad_request", "twice"},
		{"key twice in a map", `{"tags":{"a":"1","a":"2"}}`, "bad_request", "twice"},
		{"key twice in raw", `{"raw":{"a":1,"b":{"c":1,"C":2}}}`, "bad_request", "twice"},
		{"key twice by folding", `{"raw":{"straße":1,"STRAßE":2}}`, "bad_request", "twice"},
		{"same keys apart", `{"raw":[{"a":1},{"a":1}]}`, "", ""},
		{"string for a number", `{"number":"1"}`, "bad_request", `string at "/number"`},
		{"fraction", `{"number":1.5}`, "bad_request", `number at "/number"`},
		{"exponent", `{"number":1e3}`, "bad_request", `number at "/number"`},
		{"overflow", `{"number":9223372036854775808}`, "bad_request", `number at "/number"`},
		{"array at the top", `[]`, "bad_request", "list at its top"},
		{"long number", `{"raw":` + strings.Repeat("1", 65) + `}`, "bad_request", "65 digits"},
		{"number that fits", `{"raw":` + strings.Repeat("1", 64) + `}`, "", ""},
		{"too deep", `{"raw":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, "bad_request", "deeper than 32"},
		{"deep", `{"raw":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`, "", ""},
		{"very deep", strings.Repeat("[", 500_000), "bad_request", "deeper"},
		{"bad UTF-8", "{\"label\":\"a\xff\"}", "bad_request", "UTF-8"},
		{"lone surrogate", `{"raw":"\ud800"}`, "bad_request", "malformed"},
		{"bad name", `{"label":"../x"}`, "bad_name", `"/label": "../x" is no label`},
		{"label of digits", `{"label":"17"}`, "bad_name", "not all digits"},
		{"NaN", `{"raw":NaN}`, "bad_request", "malformed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var d document
			err := web.DecodeJSON([]byte(row.text), &d)
			if row.code == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			p, ok := errors.AsType[*web.Problem](err)
			if !ok {
				t.Fatalf("error is %v, want the problem %s", err, row.code)
			}
			if p.Code != row.code || !strings.Contains(p.Detail, row.says) {
				t.Errorf("problem is %s: %s; want %s: … %s …", p.Code, p.Detail, row.code, row.says)
			}
			if len(p.Detail) > 600 {
				t.Errorf("the detail has %d bytes", len(p.Detail))
			}
		})
	}
	keys := make([]string, 1001)
	for i := range keys {
		keys[i] = `"` + strings.Repeat("k", i+1) + `":1`
	}
	if err := web.DecodeJSON([]byte(`{"raw":{`+strings.Join(keys, ",")+`}}`), new(document)); err == nil {
		t.Error("1001 keys: no error")
	}
	if err := web.DecodeJSON([]byte(`{"raw":{`+strings.Join(keys[:1000], ",")+`}}`), new(document)); err != nil {
		t.Errorf("1000 keys: %v", err)
	}
}

// FuzzDecodeJSON holds the strict decoder against encoding/json: what the strict one
// accepts, the other one reads to the same value.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"label":"v1","number":7,"tags":{"a":"b"},"raw":{"x":[1,null,"é"]},"list":[{"list":[]}]}`,
		`{"number":1,"Number":2}`, `{"raw":-0.1e+5} `, `{"tags":{"\u0061":"\ud83d\ude00"}}`, `[1]`, `{"raw":"` + "\x7f" + `"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var ours, theirs document
		if err := web.DecodeJSON(data, &ours); err != nil {
			if len(err.Error()) > 4096 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(&theirs); err != nil {
			t.Fatalf("accepted %q, which encoding/json refuses: %v", data, err)
		}
		if _, err := d.Token(); err != io.EOF {
			t.Fatalf("accepted %q, which has something behind it", data)
		}
		a, err := json.Marshal(ours)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(theirs)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(canonical(t, a), canonical(t, b)) {
			t.Errorf("%q is %s here and %s there", data, a, b)
		}
	})
}

// canonical levels nil and empty lists and maps, which the two decoders tell apart
// differently.
func canonical(t *testing.T, data []byte) []byte {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
