package detector

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// csvBody is CSV as RFC 4180 has it, with a header.
type csvBody struct {
	in     columnReader
	buffer *bufio.Reader
	csv    *csv.Reader
	names  [][]byte // the header
	count  int
}

func newCSVBody(body io.Reader) *csvBody {
	b := &csvBody{in: columnReader{boundedReader: boundedReader{from: body, end: MaxEvent}}}
	b.buffer = bufio.NewReaderSize(&b.in, 64<<10)
	b.csv = csv.NewReader(b.buffer) // which takes this buffer for its own
	b.csv.FieldsPerRecord = -1      // a record of another length spoils one event, not the body
	b.csv.ReuseRecord = true
	return b
}

func (b *csvBody) ready() bool { return lineBuffered(b.buffer) }

func (b *csvBody) next(e *Event) error {
	if b.names == nil {
		if err := b.readHeader(); err != nil {
			return err
		}
	}
	cells, err := b.record(fmt.Sprintf("event %d", b.count))
	if err != nil {
		return err
	}
	b.count++
	e.names, e.cells = b.names, cells
	return nil
}

func (b *csvBody) readHeader() error {
	const mark = "\ufeff" // spreadsheets begin with it
	if begin, err := b.buffer.Peek(len(mark)); err == nil && bytes.Equal(begin, []byte(mark)) {
		if _, err := b.buffer.Discard(len(mark)); err != nil {
			return fmt.Errorf("read the events: %w", err)
		}
	}
	names, err := b.record("the header")
	if err == io.EOF {
		return fmt.Errorf("%w: it is empty; its first line should name the columns", ErrBadBody)
	}
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, name := range names {
		if there[name] {
			return fmt.Errorf("%w: the header names the column %s twice", ErrBadBody, shown(name))
		}
		there[name] = true
		b.names = append(b.names, []byte(name))
	}
	return nil
}

// record reads one record, which stays valid until the next call.
func (b *csvBody) record(where string) ([]string, error) {
	b.in.end, b.in.commas = b.csv.InputOffset()+MaxEvent, 0
	cells, err := b.csv.Read()
	switch malformed, ok := errors.AsType[*csv.ParseError](err); {
	case err == io.EOF:
		return nil, io.EOF
	case errors.Is(err, errBeyond):
		return nil, tooLong(where)
	case errors.Is(err, errColumns):
		return nil, fmt.Errorf("%w: %s has more than %d columns", ErrTooLarge, where, maxColumns)
	case ok:
		return nil, fmt.Errorf("%w: line %d, column %d: %w", ErrBadBody, malformed.Line, malformed.Column, malformed.Err)
	case err != nil:
		return nil, fmt.Errorf("read the events: %w", err)
	}
	for i, cell := range cells {
		if !utf8.ValidString(cell) {
			line, column := b.csv.FieldPos(i)
			return nil, fmt.Errorf("%w: line %d, column %d: invalid UTF-8", ErrBadBody, line, column)
		}
	}
	return cells, nil
}

// maxColumns bounds a record, for each column of it takes far more memory than its comma.
const maxColumns = 100_000

var errColumns = errors.New("too many columns")

// columnReader ends with errColumns where a record has more commas than columns are
// allowed; those within quotes count too.
type columnReader struct {
	boundedReader
	commas int // since the record's beginning, as far as it was not read ahead
}

func (r *columnReader) Read(p []byte) (int, error) {
	if r.commas > maxColumns {
		return 0, errColumns
	}
	n, err := r.boundedReader.Read(p)
	r.commas += bytes.Count(p[:n], []byte{','})
	return n, err
}
