package detector

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Format is how a body holds its events.
type Format int

const (
	// JSON is an array of events; or an object with such an array as its member
	// "network_data", or with arrays of values, in the order of the features, as
	// "rows".
	JSON Format = iota
	// NDJSON is an event per line. Blank lines are skipped.
	NDJSON
	// CSV has a header with the names, and then an event per record.
	CSV
)

func (f Format) String() string {
	switch f {
	case NDJSON:
		return "NDJSON"
	case CSV:
		return "CSV"
	}
	return "JSON"
}

const (
	// MaxEvent bounds one event and the space before it, in bytes.
	MaxEvent = 1 << 20
	// MaxMembers bounds what stands beside the events in a JSON object, in bytes.
	MaxMembers = 1 << 20
	// maxDepth bounds how deep an event's values nest.
	maxDepth = 32
)

// Reader reads the events of one body, in order. It holds one event in memory,
// however many the body has. It is not safe for concurrent use.
type Reader struct {
	source source
	event  Event
	count  int
	err    error // what ended the body
}

// source is a body in one of the formats.
type source interface {
	// next sets the event's content, which stays valid until the next call. It
	// returns io.EOF after the last event.
	next(*Event) error
	// ready tells whether next will not have to wait for the sender.
	ready() bool
}

// NewReader reads body, and no more of it than it needs for the events asked for.
func NewReader(body io.Reader, f Format) *Reader {
	switch f {
	case NDJSON:
		return &Reader{source: newLineBody(body)}
	case CSV:
		return &Reader{source: newCSVBody(body)}
	}
	return &Reader{source: newJSONBody(body)}
}

// Start reads up to the first event. Nobody needs to call it except to see the Members
// that stand before the events.
func (r *Reader) Start() error {
	if b, ok := r.source.(*jsonBody); ok && r.err == nil {
		r.err = b.start()
	}
	if r.err == io.EOF {
		return nil
	}
	return r.err
}

// Next reads an event, which is valid until the next call. It returns io.EOF after the
// last one, ErrBadBody where the body is malformed or ends early, ErrTooLarge where an
// event is, and the body's own error. No error is followed by another event.
func (r *Reader) Next() (*Event, error) {
	if r.err == nil {
		r.event = Event{Index: r.count}
		r.err = r.source.next(&r.event)
	}
	if r.err != nil {
		return nil, r.err
	}
	r.count++
	return &r.event, nil
}

// Ready tells whether Next will answer without waiting for more of the body, as far as
// that can be known: a stream's answers should not wait while it is false.
func (r *Reader) Ready() bool { return r.err != nil || r.source.ready() }

// Members are the other members of a JSON object that holds events, as they were sent:
// those read so far, and after the last event all. Names are never doubled. It is nil
// for other bodies.
func (r *Reader) Members() map[string]json.RawMessage {
	if b, ok := r.source.(*jsonBody); ok {
		return b.members
	}
	return nil
}

// boundedReader ends with errBeyond where its reader is asked for byte number end or a
// later one.
type boundedReader struct {
	from      io.Reader
	read, end int64
}

var errBeyond = errors.New("beyond the limit")

func (b *boundedReader) Read(p []byte) (int, error) {
	room := b.end - b.read
	if room <= 0 {
		return 0, errBeyond
	}
	n, err := b.from.Read(p[:min(int64(len(p)), room)])
	b.read += int64(n)
	return n, err
}

// jsonError says what is wrong with a JSON text. where is the part of the body that was
// being read, or "" for what stands around the events; shift is what the error's place
// lacks to that in the body.
func jsonError(where string, shift int64, err error) error {
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case errors.Is(err, errBeyond):
		return tooLong(where)
	case !ok:
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // the reader's own error, without the decoder's words around it
		}
		return fmt.Errorf("read the events: %w", err)
	}
	what := syntax.Err
	switch {
	case errors.Is(what, io.ErrUnexpectedEOF):
		what = errors.New("it ends too early")
	case errors.Is(what, jsontext.ErrDuplicateName):
		what = fmt.Errorf("the name %s is there twice", shown(syntax.JSONPointer.LastToken()))
	}
	if where != "" {
		where += ", "
	}
	return fmt.Errorf("%w: %sbyte %d: %w", ErrBadBody, where, syntax.ByteOffset+shift, what)
}

func tooLong(where string) error {
	return fmt.Errorf("%w: %s has more than %d bytes", ErrTooLarge, where, MaxEvent)
}

// shown quotes a piece of what was sent, cut and escaped, for an error's text.
func shown(s string) string {
	if len(s) > 64 {
		return fmt.Sprintf("%+q…", s[:64])
	}
	return fmt.Sprintf("%+q", s)
}
