package main

import (
	"io"
	"strings"
	"testing"

	"modelbucket/detector"
)

func TestSniff(t *testing.T) {
	for _, test := range []struct {
		name, begin string
		want        detector.Format
	}{
		{"array", `[{"a":1}]`, detector.JSON},
		{"array behind blank lines and a byte order mark", "\ufeff\n [", detector.JSON},
		{"object that holds events", `{"network_data":[{"a":1}]}`, detector.JSON},
		{"object that holds rows, on several lines", "{\n  \"rows\": [", detector.JSON},
		{"object that holds events behind something else", `{"label":"v1","network_data":[]}`, detector.JSON},
		{"a line", "{\"a\":1}\n{\"a\":2}\n", detector.NDJSON},
		{"a line that is not whole yet", `{"bytes_transferred":1`, detector.NDJSON},
		{"a header", "bytes_transferred,packet_count\n1,2\n", detector.CSV},
		{"a quoted header", "\"a\",\"b\"\n", detector.CSV},
		{"nothing", "", detector.NDJSON},
	} {
		if got := sniff([]byte(test.begin)); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// trickle gives one byte at a time, as a slow stream does.
type trickle struct{ io.Reader }

func (r trickle) Read(p []byte) (int, error) { return r.Reader.Read(p[:1]) }

// What was looked at to find out the format is still there.
func TestOpenEventsLosesNothing(t *testing.T) {
	text := "{\"a\":1}\n{\"a\":2}\n"
	for _, stdin := range []io.Reader{strings.NewReader(text), trickle{strings.NewReader(text)}} {
		p := &program{stdin: stdin}
		body, kind, err := p.openEvents("-", "auto")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != text || kind != detector.NDJSON {
			t.Errorf("got %q as %s, %v; want %q as %s", got, kind, err, text, detector.NDJSON)
		}
	}
}
