package detector

import (
	"bytes"
	"unicode/utf8"
)

// scanner takes plain events apart, several times as fast as the decoder of all JSON:
// objects and arrays whose values are numbers, true, false, null or strings, without an
// escape in any string. Whatever else it meets, right or wrong, it leaves to that
// decoder, which also finds the words for what is wrong.
type scanner struct {
	spans []span
	// names are all different: those of the event before, by place. Mostly they are
	// there again, and then it is known already that none is there twice.
	names [][]byte
}

// span is where a member's name, without its quotes, and its value stand in an event's
// text.
type span struct{ name, nameEnd, value, valueEnd int }

type scanned int

const (
	plain      scanned = iota // an event, from the text's first byte on
	incomplete                // the text ends too early to tell
	other                     // not for this scanner
)

// maxNames bounds the names that are compared with each other.
const maxNames = 64

// event scans the event that the text begins with, an array if row, else an object. It
// returns where it ends; spans are those of the event.
func (s *scanner) event(text []byte, row bool) (end int, result scanned) {
	s.spans = s.spans[:0]
	open, shut := byte('{'), byte('}')
	if row {
		open, shut = '[', ']'
	}
	if len(text) == 0 {
		return 0, incomplete
	}
	if text[0] != open {
		return 0, other
	}
	i := pastSpace(text, 1)
	if i < len(text) && text[i] == shut {
		return i + 1, plain
	}
	for {
		var at span
		if !row {
			if at.name, at.nameEnd, result = s.memberName(text, i); result != plain {
				return 0, result
			}
			if i = pastSpace(text, at.nameEnd+1); i < len(text) && text[i] != ':' {
				return 0, other
			}
			i = pastSpace(text, i+1)
		}
		at.value = i
		if at.valueEnd, result = scanValue(text, i); result != plain {
			return 0, result
		}
		s.spans = append(s.spans, at)
		if i = pastSpace(text, at.valueEnd); i >= len(text) {
			return 0, incomplete
		}
		switch text[i] {
		case ',':
			i = pastSpace(text, i+1)
		case shut:
			return i + 1, plain
		default:
			return 0, other
		}
	}
}

// memberName scans the name that begins at i. It is not one that the event had already.
func (s *scanner) memberName(text []byte, i int) (name, end int, result scanned) {
	place := len(s.spans)
	if place < len(s.names) {
		known := s.names[place]
		if end := i + 1 + len(known); end < len(text) && text[i] == '"' && text[end] == '"' && string(text[i+1:end]) == string(known) {
			return i + 1, end, plain
		}
		s.names = s.names[:place]
	}
	switch {
	case i >= len(text):
		return 0, 0, incomplete
	case text[i] != '"' || place == maxNames:
		return 0, 0, other
	}
	if end, result = scanString(text, i); result != plain {
		return 0, 0, result
	}
	it := text[i+1 : end-1]
	for _, name := range s.names {
		if bytes.Equal(name, it) {
			return 0, 0, other
		}
	}
	if place < cap(s.names) {
		s.names = s.names[:place+1] // and its memory
	} else {
		s.names = append(s.names, nil)
	}
	s.names[place] = append(s.names[place][:0], it...)
	return i + 1, end - 1, plain
}

// scanValue returns where the value that begins at i ends. A number at the end of the
// text may go on.
func scanValue(text []byte, i int) (int, scanned) {
	if i >= len(text) {
		return 0, incomplete
	}
	switch c := text[i]; c {
	case '"':
		return scanString(text, i)
	case 't':
		return scanLiteral(text, i, "true")
	case 'f':
		return scanLiteral(text, i, "false")
	case 'n':
		return scanLiteral(text, i, "null")
	default:
		if c == '-' || isDigit(c) {
			return scanNumber(text, i)
		}
	}
	return 0, other
}

func scanLiteral(text []byte, i int, literal string) (int, scanned) {
	end := i + len(literal)
	switch {
	case end > len(text):
		return 0, incomplete
	case string(text[i:end]) != literal:
		return 0, other
	}
	return end, plain
}

// scanString returns where the string that begins at i ends: behind its second quote.
func scanString(text []byte, i int) (int, scanned) {
	ascii := true
	for end := i + 1; end < len(text); end++ {
		switch c := text[end]; {
		case c == '"':
			if !ascii && !utf8.Valid(text[i+1:end]) {
				return 0, other
			}
			return end + 1, plain
		case c == '\\' || c < ' ':
			return 0, other
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return 0, incomplete
}

// scanNumber returns where the number that begins at i ends.
func scanNumber(text []byte, i int) (int, scanned) {
	if text[i] == '-' {
		i++
	}
	whole := i
	i = pastDigits(text, i)
	if i-whole > 1 && text[whole] == '0' {
		return 0, other
	}
	some := i > whole
	if some && i < len(text) && text[i] == '.' {
		fraction := i + 1
		i = pastDigits(text, fraction)
		some = i > fraction
	}
	if some && i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		if i++; i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		exponent := i
		i = pastDigits(text, exponent)
		some = i > exponent
	}
	switch {
	case i >= len(text):
		return 0, incomplete
	case !some:
		return 0, other
	}
	return i, plain
}

func isDigit(c byte) bool { return c-'0' <= 9 }

func pastDigits(text []byte, i int) int {
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	return i
}

func pastSpace(text []byte, i int) int {
	for i < len(text) && isSpace(text[i]) {
		i++
	}
	return i
}

// powersOfTen are exact.
var powersOfTen = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// shortNumber is the value of a number that was scanned, if it is written with few
// digits and no exponent: then digits and power of ten are exact, and the division
// rounds as strconv.ParseFloat does.
func shortNumber(text []byte) (x float64, ok bool) {
	negative := text[0] == '-'
	if negative {
		text = text[1:]
	}
	if len(text) > 16 {
		return 0, false
	}
	var digits uint64
	point := len(text) - 1
	for i, c := range text {
		switch {
		case isDigit(c):
			digits = 10*digits + uint64(c-'0')
		case c == '.':
			point = i
		default:
			return 0, false
		}
	}
	if digits >= 1<<53 {
		return 0, false
	}
	x = float64(digits) / powersOfTen[len(text)-1-point]
	if negative {
		x = -x
	}
	return x, true
}
