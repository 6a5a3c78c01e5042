package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"modelbucket/detector"
)

// openEvents opens a file of events, or standard input for "-", and finds out how it
// holds them: by --format, by the file's ending, else by how it begins.
func (p *program) openEvents(name, format string) (body io.ReadCloser, f detector.Format, err error) {
	if name == "-" {
		body = io.NopCloser(p.stdin)
	} else if body, err = os.Open(name); err != nil {
		return nil, 0, usage("name a file of events (JSON, NDJSON or CSV), or - for standard input", "%v", err)
	}
	if format == "auto" {
		format = strings.TrimPrefix(strings.ToLower(filepath.Ext(name)), ".")
	} else if format == "json" {
		return body, detector.JSON, nil
	}
	switch format {
	case "ndjson", "jsonl":
		return body, detector.NDJSON, nil
	case "csv":
		return body, detector.CSV, nil
	}
	begin := make([]byte, 64<<10)
	n, err := body.Read(begin) // what is there already: a stream may be slow
	if err != nil && err != io.EOF {
		body.Close()
		return nil, 0, fmt.Errorf("read %s: %w", name, err)
	}
	begin = begin[:n]
	whole := struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(begin), body), body}
	return whole, sniff(begin), nil
}

// sniff guesses the format by how the events begin. A first line that is an object
// makes it NDJSON, unless it is the object that holds all events.
func sniff(begin []byte) detector.Format {
	begin = bytes.TrimLeft(begin, " \t\r\n\ufeff")
	if len(begin) == 0 {
		return detector.NDJSON
	}
	switch begin[0] {
	case '[':
		return detector.JSON
	case '{':
		first, _, _ := bytes.Cut(begin, []byte("\n"))
		var members map[string]json.RawMessage
		if json.Unmarshal(first, &members) == nil {
			_, events := members["network_data"]
			_, rows := members["rows"]
			if events || rows {
				return detector.JSON
			}
			return detector.NDJSON
		}
		name := strings.TrimSpace(string(begin[1:]))
		if strings.HasPrefix(name, `"network_data"`) || strings.HasPrefix(name, `"rows"`) {
			return detector.JSON
		}
		return detector.NDJSON
	}
	return detector.CSV
}
