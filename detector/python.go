package detector

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// pythonWriter writes JSON as Python's json.dumps(…, sort_keys=True) does: separators
// ", " and ": ", keys in the order of their code points, all beyond ASCII escaped,
// floats as repr writes them.
type pythonWriter struct {
	members []pythonMember // of the objects under way: a stack
	text    []byte         // an unescaped string
}

type pythonMember struct{ name, value []byte }

func (p *pythonWriter) append(dst, value []byte, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: values nest deeper than %d", ErrBadBody, maxDepth)
	}
	switch value[0] {
	case '{':
		return p.appendObject(dst, value, depth)
	case '[':
		return p.appendArray(dst, value, depth)
	case '"':
		text, err := unescape(&p.text, value)
		return appendPythonString(dst, text), err
	case 'n', 't', 'f':
		return append(dst, value...), nil
	}
	return appendPythonNumber(dst, value), nil
}

func (p *pythonWriter) appendArray(dst, value []byte, depth int) ([]byte, error) {
	dst = append(dst, '[')
	w := walk{text: value, at: 1}
	for i := 0; ; i++ {
		_, element, ok, err := w.next()
		if err != nil || !ok {
			return append(dst, ']'), err
		}
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if dst, err = p.append(dst, element, depth+1); err != nil {
			return nil, err
		}
	}
}

func (p *pythonWriter) appendObject(dst, value []byte, depth int) ([]byte, error) {
	begin := len(p.members)
	defer func() { p.members = p.members[:begin] }()
	w := walk{text: value, at: 1, object: true}
	for {
		name, value, ok, err := w.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		if name, err = unescape(new([]byte), name); err != nil {
			return nil, err
		}
		p.members = append(p.members, pythonMember{name, value})
	}
	end := len(p.members)
	// UTF-8 sorts as its code points do, and no name is there twice.
	slices.SortFunc(p.members[begin:], func(a, b pythonMember) int { return bytes.Compare(a.name, b.name) })
	dst = append(dst, '{')
	for i := begin; i < end; i++ {
		if i > begin {
			dst = append(dst, ", "...)
		}
		dst = append(appendPythonString(dst, p.members[i].name), ": "...)
		var err error
		if dst, err = p.append(dst, p.members[i].value, depth+1); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// unescape returns what a JSON string means, which is a part of quoted where it has no
// escapes, and the buffer where it has.
func unescape(buffer *[]byte, quoted []byte) ([]byte, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	text, err := jsontext.AppendUnquote((*buffer)[:0], quoted)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadBody, err)
	}
	*buffer = text
	return text, nil
}

func appendPythonString(dst, text []byte) []byte {
	dst = append(dst, '"')
	for len(text) > 0 {
		if c := text[0]; c < utf8.RuneSelf {
			text = text[1:]
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c >= ' ' && c <= '~':
				dst = append(dst, c)
			case c == '\n':
				dst = append(dst, `\n`...)
			case c == '\r':
				dst = append(dst, `\r`...)
			case c == '\t':
				dst = append(dst, `\t`...)
			case c == '\b':
				dst = append(dst, `\b`...)
			case c == '\f':
				dst = append(dst, `\f`...)
			default:
				dst = fmt.Appendf(dst, `\u%04x`, c)
			}
			continue
		}
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		if r >= 0x10000 {
			r -= 0x10000
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			continue
		}
		dst = fmt.Appendf(dst, `\u%04x`, r)
	}
	return append(dst, '"')
}

// appendPythonNumber writes a number that JSON spells as text: as an int, if it is
// spelt as one, else as a float.
func appendPythonNumber(dst, text []byte) []byte {
	if !bytes.ContainsAny(text, ".eE") {
		if string(text) == "-0" {
			return append(dst, '0')
		}
		return append(dst, text...)
	}
	x, err := strconv.ParseFloat(string(text), 64) // out of range is an infinity, in Python too
	switch {
	case err != nil && x > 0:
		return append(dst, "Infinity"...)
	case err != nil:
		return append(dst, "-Infinity"...)
	}
	return appendPythonFloat(dst, x)
}

// appendPythonFloat writes what repr does: the shortest digits that give x again, with
// an exponent below 1e-4 and from 1e16 on.
func appendPythonFloat(dst []byte, x float64) []byte {
	if a := math.Abs(x); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.AppendFloat(dst, x, 'e', -1, 64)
	}
	begin := len(dst)
	dst = strconv.AppendFloat(dst, x, 'f', -1, 64)
	if bytes.IndexByte(dst[begin:], '.') < 0 {
		dst = append(dst, ".0"...)
	}
	return dst
}
