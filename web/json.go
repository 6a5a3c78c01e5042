package web

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The limits of a JSON document that says what to do. Events have their own reader.
const (
	maxJSON     = 1 << 20 // bytes
	maxDepth    = 32
	maxKeys     = 1000 // of one object
	maxNumber   = 64   // digits and signs of one number
	maxJSONName = 1024 // bytes of one key
)

// DecodeJSON decodes one JSON document into a struct, strictly: the whole of data, no
// unknown field, no key twice (not in another case either), valid UTF-8, and nothing
// deeper, wider or longer than the limits. Field names are compared exactly.
func DecodeJSON(data []byte, into any) error {
	if err := checkJSON(data); err != nil {
		return err
	}
	err := json.Unmarshal(data, into, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok {
		at := pointer(wrong.JSONPointer)
		switch p := ProblemOf(wrong.Err); {
		case errors.Is(wrong.Err, json.ErrUnknownName):
			return problemf(codeBadRequest, "the JSON has an unknown field %s", at).hint("remove it; the contract is at /openapi.yaml")
		case wrong.Err != nil && p.Code != codeInternal:
			p.Detail = at + ": " + p.Detail
			return p
		}
		return problemf(codeBadRequest, "the JSON has a %s at %s, where something else belongs", kindName(wrong.JSONKind), at).hint("the contract is at /openapi.yaml")
	}
	return problemf(codeBadRequest, "the JSON is malformed")
}

// checkJSON walks over the document once and enforces the limits.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return problemf(codeBadRequest, "the JSON is not valid UTF-8")
	}
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true)) // looked for here, with a better text
	var keys []map[string]bool                                                          // of the objects that are open; nil for arrays
	for {
		inObject, count := d.StackIndex(d.StackDepth())
		isName := inObject == jsontext.KindBeginObject && count%2 == 0
		token, err := d.ReadToken()
		if err == io.EOF && d.StackDepth() == 0 && d.InputOffset() > 0 && len(bytes.TrimSpace(data)) > 0 {
			return nil
		}
		if err != nil {
			return malformed(data, d, err)
		}
		switch token.Kind() {
		case jsontext.KindBeginObject:
			keys = append(keys, map[string]bool{})
		case jsontext.KindBeginArray:
			keys = append(keys, nil)
		case jsontext.KindEndObject, jsontext.KindEndArray:
			keys = keys[:len(keys)-1]
		case jsontext.KindNumber:
			if n := len(token.String()); n > maxNumber {
				return problemf(codeBadRequest, "the JSON has a number of %d digits at %s; it may have %d", n, pointer(d.StackPointer()), maxNumber)
			}
		}
		if len(keys) > maxDepth {
			return problemf(codeBadRequest, "the JSON is nested deeper than %d levels", maxDepth)
		}
		if isName && token.Kind() == jsontext.KindString {
			if err := admitKey(keys[len(keys)-1], token.String()); err != nil {
				return err
			}
		}
		if d.StackDepth() == 0 {
			if rest := bytes.TrimLeft(data[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
				return problemf(codeBadRequest, "the JSON goes on behind its end, at byte %d", len(data)-len(rest)).hint("send one document")
			}
			return nil
		}
	}
}

func admitKey(seen map[string]bool, key string) error {
	folded := strings.ToLower(strings.ToUpper(key))
	switch {
	case len(key) > maxJSONName:
		return problemf(codeBadRequest, "the JSON has a key of %d bytes; it may have %d", len(key), maxJSONName)
	case seen[folded]:
		return problemf(codeBadRequest, "the JSON has the key %s twice", shown(key)).hint("upper and lower case count as the same here; keep one of them")
	case len(seen) == maxKeys:
		return problemf(codeBadRequest, "the JSON has an object with more than %d keys", maxKeys)
	}
	seen[folded] = true
	return nil
}

// malformed says where a document stops being JSON. The library's own text is not
// shown: it repeats what was sent.
func malformed(data []byte, d *jsontext.Decoder, err error) error {
	at := d.InputOffset()
	if wrong, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = wrong.ByteOffset
	}
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return problemf(codeBadRequest, "the body is empty where JSON belongs")
	case errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF:
		return problemf(codeBadRequest, "the JSON breaks off at byte %d", len(data))
	}
	line := 1 + bytes.Count(data[:min(at, int64(len(data)))], []byte("\n"))
	return problemf(codeBadRequest, "the JSON is malformed at byte %d, line %d", at, line)
}

func pointer(p jsontext.Pointer) string {
	if p == "" {
		return "its top"
	}
	return shown(string(p))
}

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "boolean"
	case jsontext.KindString:
		return "string"
	case jsontext.KindNumber:
		return "number"
	case jsontext.KindBeginObject:
		return "object"
	case jsontext.KindBeginArray:
		return "list"
	}
	return "value"
}

// mediaType is a request's content type without its parameters, and these.
func mediaType(header string) (string, map[string]string, error) {
	if header == "" {
		return "", nil, nil
	}
	kind, params, err := mime.ParseMediaType(header)
	if err != nil {
		return "", nil, unsupported(header, "a content type that can be read")
	}
	return kind, params, nil
}

func unsupported(sent, want string) *Problem {
	return problemf(codeUnsupportedMedia, "the content type %s cannot be used here", shown(sent)).hint("send %s", want)
}

// wantJSON refuses a body that is not called JSON. A PATCH may also call itself a merge
// patch (RFC 7396), which it is.
func (c *call) wantJSON() error {
	sent := c.r.Header.Get("Content-Type")
	kind, _, err := mediaType(sent)
	if err == nil && kind != "application/json" && (kind != "application/merge-patch+json" || c.r.Method != "PATCH") {
		err = unsupported(sent, "Content-Type: application/json")
	}
	return err
}

// readJSON reads a request's body as one JSON document.
func (c *call) readJSON(into any) error {
	if err := c.wantJSON(); err != nil {
		return err
	}
	data, err := readAll(c.body(maxJSON))
	if err != nil {
		return err
	}
	return DecodeJSON(data, into)
}

// hasBody tells whether the request came with a body, where one is optional.
func (c *call) hasBody() bool { return c.r.ContentLength != 0 }
