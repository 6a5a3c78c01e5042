package joblib

import (
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

func (m *machine) number(op byte) error {
	switch op {
	case 'G':
		b, err := m.take(8)
		if err != nil {
			return err
		}
		return m.small(math.Float64frombits(binary.BigEndian.Uint64(b)))
	case 'J':
		v, err := m.uint(4)
		if err != nil {
			return err
		}
		return m.small(int64(int32(v)))
	case 0x8a, 0x8b:
		width := 1
		if op == 0x8b {
			width = 4
		}
		b, err := m.sized(width)
		if err != nil {
			return err
		}
		if len(b) > maxInt {
			return m.tooLarge("an integer of %d bytes", len(b))
		}
		if err := m.allocate(valueBytes + 2*len(b)); err != nil {
			return err
		}
		return m.push(littleEndian(b))
	}
	width := 1
	if op == 'M' {
		width = 2
	}
	v, err := m.uint(width)
	if err != nil {
		return err
	}
	return m.small(int64(v))
}

// small pushes a value of a few bytes.
func (m *machine) small(v any) error {
	if err := m.allocate(smallBytes); err != nil {
		return err
	}
	return m.push(v)
}

// littleEndian is a number in two's complement: an int64 if it is one.
func littleEndian(b []byte) any {
	if n := len(b); n > 0 && n <= 8 {
		var full [8]byte
		copy(full[:], b)
		unused := 64 - 8*n
		return int64(binary.LittleEndian.Uint64(full[:])) << unused >> unused
	}
	b = slices.Clone(b)
	slices.Reverse(b)
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	if v.IsInt64() {
		return v.Int64()
	}
	return v
}

func (m *machine) string(op byte) error {
	width := 8
	switch op {
	case 0x8c, 'U', 'C':
		width = 1
	case 'X', 'T', 'B':
		width = 4
	}
	b, err := m.sized(width)
	if err != nil {
		return err
	}
	switch op {
	case 'C', 'B', 0x8e, 0x96:
		return m.small(b)
	}
	s, err := m.text(b)
	if err != nil {
		return err
	}
	return m.push(s)
}

// textual reads a number or a text as protocol 0 writes it: in a line.
func (m *machine) textual(op byte) error {
	b, err := m.line()
	if err != nil {
		return err
	}
	if err := m.spend(2 + len(b)/4); err != nil { // and decimals take their time
		return err
	}
	if err := m.allocate(valueBytes + 2*len(b)); err != nil {
		return err
	}
	switch op {
	case 'S': // of Python 2, in quotes
		if len(b) < 2 || (b[0] != '\'' && b[0] != '"') || b[len(b)-1] != b[0] || strings.Contains(string(b), `\`) {
			return m.malformed("text in quotes of unusual form")
		}
		s, err := m.text(b[1 : len(b)-1])
		if err != nil {
			return err
		}
		return m.push(s)
	case 'V':
		s, ok := unescape(b)
		if !ok {
			return m.malformed("text of unusual form")
		}
		return m.push(s)
	case 'F':
		f, err := strconv.ParseFloat(string(b), 64)
		if err != nil || len(b) > maxDigits || strings.ContainsAny(string(b), "xX_") {
			return m.malformed("the number %.40q", b)
		}
		return m.push(f)
	case 'I':
		switch string(b) {
		case "00":
			return m.push(false)
		case "01":
			return m.push(true)
		}
	case 'L':
		if n := len(b); n > 0 && b[n-1] == 'L' {
			b = b[:n-1]
		}
	}
	v, ok := decimal(b)
	if !ok {
		return m.malformed("the number %.40q", b)
	}
	if v.IsInt64() {
		return m.push(v.Int64())
	}
	return m.push(v)
}

// decimal reads a whole number. Its digits are few, as their reading takes quadratic time.
func decimal(b []byte) (*big.Int, bool) {
	digits := strings.TrimPrefix(string(b), "-")
	if digits == "" || len(digits) > maxDigits || strings.Trim(digits, "0123456789") != "" {
		return nil, false
	}
	return new(big.Int).SetString(string(b), 10)
}

// index reads a number of the memo.
func (m *machine) index() (uint64, error) {
	b, err := m.line()
	if err != nil {
		return 0, err
	}
	at, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0, m.malformed("memo entry %.40q", b)
	}
	return at, nil
}

// unescape reads Python's raw-unicode-escape: a byte is a character of Latin-1, \uxxxx
// and \Uxxxxxxxx are any.
func unescape(b []byte) (string, bool) {
	var s strings.Builder
	for len(b) > 0 {
		width := 0
		if len(b) > 1 && b[0] == '\\' {
			width = map[byte]int{'u': 4, 'U': 8}[b[1]]
		}
		if width == 0 {
			s.WriteRune(rune(b[0]))
			b = b[1:]
			continue
		}
		if len(b) < 2+width {
			return "", false
		}
		r, err := strconv.ParseUint(string(b[2:2+width]), 16, 31)
		if err != nil || !utf8.ValidRune(rune(r)) {
			return "", false
		}
		s.WriteRune(rune(r))
		b = b[2+width:]
	}
	return s.String(), true
}
