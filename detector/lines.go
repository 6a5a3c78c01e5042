package detector

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// lineBody is NDJSON.
type lineBody struct {
	in      *bufio.Reader
	long    []byte // a line that is longer than in's buffer
	number  int    // of the line, from 1
	text    bytes.Buffer
	decoder *jsontext.Decoder
	scanner
}

func newLineBody(body io.Reader) *lineBody {
	return &lineBody{in: bufio.NewReaderSize(body, 64<<10), decoder: jsontext.NewDecoder(new(bytes.Buffer))}
}

func (b *lineBody) ready() bool { return lineBuffered(b.in) }

// lineBuffered tells whether a whole line can be read without asking the sender.
func lineBuffered(r *bufio.Reader) bool {
	buffered, err := r.Peek(r.Buffered())
	return err == nil && bytes.IndexByte(buffered, '\n') >= 0
}

func (b *lineBody) next(e *Event) error {
	for {
		line, err := b.line()
		if err != nil {
			return err
		}
		if blank(line) {
			continue
		}
		begin := pastSpace(line, 0)
		if n, result := b.event(line[begin:], false); result == plain && blank(line[begin+n:]) {
			e.text, e.spans, e.scanned = line[begin:begin+n], b.spans, true
			return nil
		}
		b.text = *bytes.NewBuffer(line) // which the decoder reads in place
		b.decoder.Reset(&b.text)
		value, err := b.decoder.ReadValue()
		if err != nil {
			return jsonError(fmt.Sprintf("line %d", b.number), 0, err)
		}
		if !blank(line[b.decoder.InputOffset():]) {
			return fmt.Errorf("%w: line %d: something follows the event", ErrBadBody, b.number)
		}
		e.text = value
		return nil
	}
}

// line returns the next line, which stays valid until the next call.
func (b *lineBody) line() ([]byte, error) {
	b.number++
	b.long = b.long[:0]
	for {
		part, err := b.in.ReadSlice('\n')
		if len(b.long)+len(part) > MaxEvent {
			return nil, tooLong(fmt.Sprintf("line %d", b.number))
		}
		if err == nil && len(b.long) == 0 {
			return part, nil
		}
		b.long = append(b.long, part...)
		switch {
		case err == nil, err == io.EOF && len(b.long) > 0:
			return b.long, nil
		case err == io.EOF:
			return nil, io.EOF
		case err != bufio.ErrBufferFull:
			return nil, fmt.Errorf("read the events: %w", err)
		}
	}
}

func blank(text []byte) bool {
	for _, c := range text {
		if !isSpace(c) {
			return false
		}
	}
	return true
}
