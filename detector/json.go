package detector

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonBody is a JSON body. Its plain beginning is scanned; the decoder has the rest,
// and refuses doubled names, invalid UTF-8 and whatever else RFC 7493 refuses.
type jsonBody struct {
	plain   plainBody
	in      boundedReader
	decoder *jsontext.Decoder // nil while the body is plain
	shift   int64             // what its places lack to those in the body
	state   jsonState
	object  bool // the events are a member of an object
	found   bool // … and that member was seen
	rows    bool // the events are arrays of values
	count   int
	members map[string]json.RawMessage
	room    int64 // bytes that members may still have
}

type jsonState int

const (
	jsonStart  jsonState = iota
	jsonEvents           // within the array of events
	jsonAfter            // behind it
)

func newJSONBody(body io.Reader) *jsonBody {
	return &jsonBody{plain: plainBody{from: body}, room: MaxMembers}
}

// decode has the decoder read what is not plain.
func (b *jsonBody) decode() error {
	rest, shift := b.plain.rest()
	b.in, b.shift = boundedReader{from: rest, end: MaxMembers}, shift
	b.decoder = jsontext.NewDecoder(&b.in)
	if b.plain.head == nil {
		return nil
	}
	if err := b.start(); err != nil || b.plain.count == 0 {
		return err
	}
	b.count = b.plain.count
	_, err := b.decoder.ReadValue() // which stands for the events so far
	return err
}

// offset is the place in the body that the decoder has come to.
func (b *jsonBody) offset() int64 { return b.decoder.InputOffset() + b.shift }

// ready is always true: a JSON answer is of no use before its end.
func (b *jsonBody) ready() bool { return true }

// start reads up to the first event.
func (b *jsonBody) start() error {
	if b.decoder == nil {
		if b.plain.begin(); b.plain.head != nil {
			return nil
		}
		if err := b.decode(); err != nil {
			return err
		}
	}
	if b.state != jsonStart {
		return nil
	}
	token, err := b.decoder.ReadToken()
	switch {
	case err == io.EOF:
		return fmt.Errorf("%w: it is empty; it should be an array of events", ErrBadBody)
	case err != nil:
		return b.failed("", err)
	}
	switch token.Kind() {
	case jsontext.KindBeginArray:
		b.state = jsonEvents
		return nil
	case jsontext.KindBeginObject:
		b.object, b.members = true, map[string]json.RawMessage{}
		return b.readMembers()
	}
	return fmt.Errorf(`%w: it is %s; it should be an array of events, or an object with "network_data" or "rows"`, ErrBadBody, kindName(token.Kind()))
}

func (b *jsonBody) next(e *Event) error {
	if err := b.start(); err != nil {
		return err
	}
	if b.decoder == nil {
		if b.plain.next(e) {
			return nil
		}
		if err := b.decode(); err != nil {
			return err
		}
	}
	if b.state == jsonAfter {
		return io.EOF
	}
	b.in.end = b.decoder.InputOffset() + MaxEvent
	if b.decoder.PeekKind() != jsontext.KindEndArray {
		value, err := b.decoder.ReadValue()
		if err != nil {
			return b.failed(fmt.Sprintf("event %d", b.count), err)
		}
		b.count++
		e.text, e.row = value, b.rows
		return nil
	}
	if _, err := b.decoder.ReadToken(); err != nil {
		return b.failed("", err)
	}
	b.state = jsonAfter
	if b.object {
		if err := b.readMembers(); err != nil {
			return err
		}
	} else if err := b.atEnd(); err != nil {
		return err
	}
	return io.EOF
}

// readMembers reads members up to the events, or to the body's end.
func (b *jsonBody) readMembers() error {
	for {
		begin := b.decoder.InputOffset()
		b.in.end = begin + b.room
		token, err := b.decoder.ReadToken()
		if err != nil {
			return b.failed("", err)
		}
		if token.Kind() == jsontext.KindEndObject {
			if !b.found {
				return fmt.Errorf(`%w: it is an object without "network_data" or "rows"`, ErrBadBody)
			}
			b.state = jsonAfter
			return b.atEnd()
		}
		name := token.String()
		if name == "network_data" || name == "rows" {
			return b.enter(name)
		}
		value, err := b.decoder.ReadValue()
		if err != nil {
			return b.failed("", err)
		}
		b.members[name] = slices.Clone(json.RawMessage(value))
		b.room -= b.decoder.InputOffset() - begin
	}
}

// enter goes into the array of events, which is the member called name.
func (b *jsonBody) enter(name string) error {
	if b.found {
		return fmt.Errorf(`%w: it has both "network_data" and "rows"`, ErrBadBody)
	}
	if kind := b.decoder.PeekKind(); kind != jsontext.KindBeginArray && kind != jsontext.KindInvalid {
		return fmt.Errorf("%w: %s is %s; it should be an array", ErrBadBody, name, kindName(kind))
	}
	if _, err := b.decoder.ReadToken(); err != nil {
		return b.failed("", err)
	}
	b.found, b.rows, b.state = true, name == "rows", jsonEvents
	return nil
}

// atEnd sees to it that nothing follows the body's one value.
func (b *jsonBody) atEnd() error {
	b.in.end = b.decoder.InputOffset() + MaxMembers
	switch _, err := b.decoder.ReadToken(); {
	case err == io.EOF:
		return nil
	case err == nil:
		return fmt.Errorf("%w: byte %d: something follows the end", ErrBadBody, b.offset())
	default:
		return b.failed("", err)
	}
}

func (b *jsonBody) failed(where string, err error) error {
	if errors.Is(err, errBeyond) && b.state != jsonEvents {
		return fmt.Errorf("%w: the members beside the events have more than %d bytes", ErrTooLarge, MaxMembers)
	}
	if err == io.EOF { // between two tokens
		return fmt.Errorf("%w: byte %d: it ends too early", ErrBadBody, b.offset())
	}
	return jsonError(where, b.shift, err)
}

// kindName names a sort of value, with its article.
func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '[':
		return "an array"
	case '{':
		return "an object"
	}
	return "a number"
}
