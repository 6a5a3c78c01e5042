package detector

import "io"

// plainBody is the beginning of a JSON body, as long as its events are plain (scanner).
type plainBody struct {
	from    io.Reader
	err     error // which from ended with
	buffer  []byte
	at, end int   // what is there of the body, and not read yet
	offset  int64 // in the body, of what is there

	head  []byte // the body up to the bracket that the events follow; nil where it is not plain
	row   bool   // the events are arrays of values
	begun bool
	count int // events so far
	scanner
}

// Buffers begin small, since most bodies are, and grow with what comes.
const minBuffer, maxBuffer = 512, 64 << 10

// begin reads the head, if that is plain: nothing but the events, or an object whose
// first member they are.
func (b *plainBody) begin() {
	if b.begun {
		return
	}
	b.begun = true
	for {
		n, row, result := plainHead(b.buffer[b.at:b.end])
		switch {
		case result == plain:
			b.head, b.row = append(b.head, b.buffer[b.at:b.at+n]...), row
			b.skip(n)
			return
		case result == other || !b.more():
			return
		}
	}
}

// plainHead returns where the head ends.
func plainHead(text []byte) (end int, row bool, result scanned) {
	i := pastSpace(text, 0)
	if i >= len(text) {
		return 0, false, incomplete
	}
	if text[i] == '{' {
		s := scanner{}
		name, nameEnd, result := s.memberName(text, pastSpace(text, i+1))
		if result != plain {
			return 0, false, result
		}
		switch string(text[name:nameEnd]) {
		case "rows":
			row = true
		case "network_data":
		default:
			return 0, false, other
		}
		if i = pastSpace(text, nameEnd+1); i < len(text) && text[i] != ':' {
			return 0, false, other
		}
		if i = pastSpace(text, i+1); i >= len(text) {
			return 0, false, incomplete
		}
	}
	if text[i] != '[' {
		return 0, false, other
	}
	return i + 1, row, plain
}

// next reads an event, if the next one is plain. Else nothing was read.
func (b *plainBody) next(e *Event) bool {
	for b.head != nil {
		text := b.buffer[b.at:b.end]
		i := pastSpace(text, 0)
		if b.count > 0 && i < len(text) {
			if text[i] != ',' {
				return false
			}
			i = pastSpace(text, i+1)
		}
		n, result := b.scanner.event(text[i:], b.row)
		switch {
		case result == plain:
			e.text, e.row, e.spans, e.scanned = text[i:i+n], b.row, b.spans, true
			b.skip(i + n)
			b.count++
			return true
		case result == other || !b.more():
			return false
		}
	}
	return false
}

func (b *plainBody) skip(n int) {
	b.at += n
	b.offset += int64(n)
}

// more reads more of the body, if there is more and room for it.
func (b *plainBody) more() bool {
	if b.err != nil {
		return false
	}
	if b.at > 0 {
		b.end = copy(b.buffer, b.buffer[b.at:b.end])
		b.at = 0
	}
	if b.end == len(b.buffer) {
		if b.end == maxBuffer {
			return false
		}
		grown := make([]byte, min(max(minBuffer, 4*len(b.buffer)), maxBuffer))
		copy(grown, b.buffer)
		b.buffer = grown
	}
	const tries = 100 // of a reader that gives nothing
	for range tries {
		n, err := b.from.Read(b.buffer[b.end:])
		b.end, b.err = b.end+n, err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	b.err = io.ErrNoProgress
	return false
}

// rest is what was not read of the body: as if all events so far were one null. shift is
// how far places in it are from those in the body.
func (b *plainBody) rest() (r io.Reader, shift int64) {
	first := b.head
	if b.count > 0 {
		first = append(first, "null"...)
	}
	return &parts{[][]byte{first, b.buffer[b.at:b.end]}, b}, b.offset - int64(len(first))
}

// parts are read one after the other, and then what a plainBody has not read yet.
type parts struct {
	parts [][]byte
	body  *plainBody
}

func (p *parts) Read(to []byte) (int, error) {
	for len(p.parts) > 0 {
		if n := copy(to, p.parts[0]); n > 0 {
			p.parts[0] = p.parts[0][n:]
			return n, nil
		}
		p.parts = p.parts[1:]
	}
	if p.body.err != nil {
		return 0, p.body.err
	}
	return p.body.from.Read(to)
}
