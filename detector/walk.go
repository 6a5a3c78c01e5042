package detector

import "fmt"

// walk goes through the members of an object, or the elements of an array, whose text
// was proven to be JSON.
type walk struct {
	text   []byte
	at     int
	object bool
}

// next returns the next member's name, with its quotes, and its value, or ok = false
// at the end. Elements have no names.
func (w *walk) next() (name, value []byte, ok bool, err error) {
	w.skip(',')
	if c := w.text[w.at]; c == '}' || c == ']' {
		return nil, nil, false, nil
	}
	if w.object {
		begin := w.at
		w.at = stringEnd(w.text, w.at)
		name = w.text[begin:w.at]
		w.skip(':')
	}
	begin := w.at
	if w.at, err = valueEnd(w.text, w.at); err != nil {
		return nil, nil, false, err
	}
	return name, w.text[begin:w.at], true, nil
}

// skip passes over space, and the punctuation c.
func (w *walk) skip(c byte) {
	for w.text[w.at] == c || isSpace(w.text[w.at]) {
		w.at++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// stringEnd returns where the string that begins at i ends.
func stringEnd(text []byte, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// valueEnd returns where the value that begins at i ends.
func valueEnd(text []byte, i int) (int, error) {
	switch text[i] {
	case '"':
		return stringEnd(text, i), nil
	case '{', '[':
		return nestedEnd(text, i)
	}
	for i < len(text) && text[i] != ',' && text[i] != '}' && text[i] != ']' && !isSpace(text[i]) {
		i++
	}
	return i, nil
}

func nestedEnd(text []byte, i int) (int, error) {
	for depth := 0; ; i++ {
		switch text[i] {
		case '"':
			i = stringEnd(text, i) - 1
		case '{', '[':
			if depth++; depth >= maxDepth {
				return 0, fmt.Errorf("%w: values nest deeper than %d", ErrBadBody, maxDepth)
			}
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, nil
			}
		}
	}
}
