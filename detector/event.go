package detector

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Event is one event of a body. It is valid until the Reader's next call.
type Event struct {
	Index int // in the body, from 0

	text []byte // as it was sent, proven to be JSON; nil for CSV
	row  bool   // an array of values
	// spans are its members, if it was scanned already.
	spans   []span
	scanned bool

	names [][]byte // CSV: the header, and one record
	cells []string
}

// AppendJSON appends the event to dst: the very bytes that were sent. A CSV record
// becomes an object: a cell that is a number as JSON writes it is that number, an empty
// one is null, others are strings. A record that does not fit the header becomes an
// array of strings.
func (e *Event) AppendJSON(dst []byte) []byte {
	if e.text != nil {
		return append(dst, e.text...)
	}
	fits := len(e.cells) == len(e.names)
	begin, end := byte('['), byte(']')
	if fits {
		begin, end = '{', '}'
	}
	dst = append(dst, begin)
	for i, cell := range e.cells {
		if i > 0 {
			dst = append(dst, ',')
		}
		if fits {
			dst = append(appendString(dst, e.names[i]), ':')
		}
		switch {
		case fits && cell == "":
			dst = append(dst, "null"...)
		case fits && isNumber(cell):
			dst = append(dst, cell...)
		default:
			dst = appendString(dst, cell)
		}
	}
	return append(dst, end)
}

// appendString appends s as a JSON string. It is valid UTF-8, as all that a Reader
// lets through.
func appendString[T string | []byte](dst []byte, s T) []byte {
	dst, err := jsontext.AppendQuote(dst, s)
	if err != nil {
		panic(fmt.Sprintf("detector: quote %q: %v", s, err))
	}
	return dst
}

// fields goes through an event's names and values.
type fields struct {
	e       *Event
	walk    walk
	at      int
	scratch *[]byte // for names with escapes
}

// fields begins a walk. It refuses what is no event.
func (e *Event) fields(scratch *[]byte) (fields, error) {
	switch {
	case e.text == nil && len(e.cells) != len(e.names):
		return fields{}, fmt.Errorf("%w: it has %d cells; the header has %d", ErrBadEvent, len(e.cells), len(e.names))
	case e.text == nil:
	case e.row && e.text[0] != '[':
		return fields{}, fmt.Errorf("%w: it is %s; a row is an array of numbers", ErrBadEvent, kindName(jsontext.Kind(e.text[0])))
	case !e.row && e.text[0] != '{':
		return fields{}, fmt.Errorf("%w: it is %s; an event is an object", ErrBadEvent, kindName(jsontext.Kind(e.text[0])))
	}
	return fields{e: e, walk: walk{text: e.text, at: 1, object: !e.row}, scratch: scratch}, nil
}

// next returns a name (nil in a row) and its value, valid until the next call, or ok =
// false at the end. The error is an ErrBadBody.
func (f *fields) next() (name []byte, v value, ok bool, err error) {
	if f.e.text == nil {
		if f.at == len(f.e.cells) {
			return nil, value{}, false, nil
		}
		f.at++
		return f.e.names[f.at-1], value{cell: f.e.cells[f.at-1]}, true, nil
	}
	if f.e.scanned {
		if f.at == len(f.e.spans) {
			return nil, value{}, false, nil
		}
		s := &f.e.spans[f.at]
		f.at++
		return f.e.text[s.name:s.nameEnd], value{json: f.e.text[s.value:s.valueEnd]}, true, nil
	}
	name, v.json, ok, err = f.walk.next()
	if ok && name != nil {
		name, err = unescape(f.scratch, name)
	}
	return name, v, ok, err
}

// isNumber tells whether s is a number in JSON's notation.
func isNumber(s string) bool {
	digits := func() bool {
		rest := strings.TrimLeft(s, "0123456789")
		some := len(rest) < len(s)
		s = rest
		return some
	}
	s = strings.TrimPrefix(s, "-")
	if rest, ok := strings.CutPrefix(s, "0"); ok {
		s = rest
	} else if !digits() {
		return false
	}
	if rest, ok := strings.CutPrefix(s, "."); ok {
		if s = rest; !digits() {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if !digits() {
			return false
		}
	}
	return s == ""
}
