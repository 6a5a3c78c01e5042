package detector

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// DefaultFeatures are trained on where nobody names others.
func DefaultFeatures() []string {
	return []string{"bytes_transferred", "packet_count", "connection_duration"}
}

// CollectOptions say what to keep of a body.
type CollectOptions struct {
	// Features are the only ones to keep. Nil keeps whatever may be one, for a caller
	// who learns the features only from a member that stands behind the events.
	Features []string
	// MaxValues bounds what is kept, in numbers of 8 bytes (0: DefaultMaxValues).
	MaxValues int64
}

// DefaultMaxValues bounds a TrainingSet where nobody says otherwise: 512 MiB.
const DefaultMaxValues = 64 << 20

// maxFeatures bounds how many features a detector may have, and how many names events
// may have where any could be a feature.
const maxFeatures = 1000

// TrainingSet is the numbers of a body's events, column by column.
type TrainingSet struct {
	// Samples is the number of events.
	Samples int
	// MD5 and SHA256 of the events as Python writes them, in hex: see eventsDigest.
	MD5, SHA256 string

	columns map[string]*column
	kept    map[string]bool // the only columns, if not nil
	rows    bool            // the events are rows …
	width   int             // … of this many values
	free    int64           // values that may still be kept
}

// column is a feature's values. The slice ends with the last event that had one.
type column struct {
	values []float64
	filled int   // how many events had a number
	bad    error // the first that had something else
}

// Collect reads a body to its end. An event that cannot be used spoils the body, and
// the error (ErrBadEvent) says which and why; but a value that is no number does so
// only in a column that is trained on.
func Collect(ctx context.Context, r *Reader, o CollectOptions) (*TrainingSet, error) {
	s := &TrainingSet{columns: map[string]*column{}, free: o.MaxValues}
	if s.free <= 0 {
		s.free = DefaultMaxValues
	}
	if o.Features != nil {
		s.kept = map[string]bool{}
		for _, name := range o.Features {
			s.kept[name] = true
		}
	}
	digest := newEventsDigest()
	var scratch []byte
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if err = digest.add(e); err == nil {
			err = s.add(e, &scratch)
		}
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", e.Index, err)
		}
		s.Samples++
	}
	if s.Samples == 0 {
		return nil, fmt.Errorf("%w: it holds no event; training needs at least one", ErrBadBody)
	}
	s.MD5, s.SHA256 = digest.sums()
	return s, nil
}

func (s *TrainingSet) add(e *Event, scratch *[]byte) error {
	all, err := e.fields(scratch)
	if err != nil {
		return err
	}
	s.rows = e.row
	for place := 0; ; place++ {
		name, v, ok, err := all.next()
		if err != nil {
			return err
		}
		if !ok {
			return s.endRow(e, place)
		}
		if e.row {
			name = strconv.AppendInt((*scratch)[:0], int64(place), 10)
			*scratch = name
		}
		c, err := s.column(name)
		if err != nil {
			return err
		}
		if c == nil || c.bad != nil {
			continue
		}
		x, filled, err := v.number()
		if err != nil {
			c.bad = fmt.Errorf("event %d: %w: %s %w", e.Index, ErrBadEvent, shown(string(name)), err)
			s.free += int64(len(c.values))
			c.values = nil
			continue
		}
		if filled {
			if err := s.put(c, x); err != nil {
				return err
			}
		}
	}
}

// endRow sees to it that all rows are of one width.
func (s *TrainingSet) endRow(e *Event, width int) error {
	switch {
	case !e.row:
		return nil
	case e.Index == 0:
		s.width = width
	case width != s.width:
		return fmt.Errorf("%w: it has %d values; the rows before have %d", ErrBadEvent, width, s.width)
	}
	return nil
}

// column finds or makes the column of this name; nil if it is not wanted.
func (s *TrainingSet) column(name []byte) (*column, error) {
	if c := s.columns[string(name)]; c != nil {
		return c, nil
	}
	if s.kept != nil && !s.rows && !s.kept[string(name)] {
		return nil, nil
	}
	if len(s.columns) == maxFeatures {
		return nil, fmt.Errorf("%w: the events have more than %d different names", ErrTooLarge, maxFeatures)
	}
	c := &column{}
	s.columns[string(name)] = c
	return c, nil
}

// put keeps x as the value of the event under way.
func (s *TrainingSet) put(c *column, x float64) error {
	missed := s.Samples - len(c.values)
	if s.free -= int64(missed) + 1; s.free < 0 {
		return fmt.Errorf("%w: the events have more numbers than this node takes for training; name fewer features, before the events", ErrTooLarge)
	}
	if missed > 0 {
		c.values = append(c.values, make([]float64, missed)...)
	}
	c.values = append(c.values, x)
	c.filled++
	return nil
}

// choose finds the columns to train on: those of names that some event has, or else the
// first of them, which is 0 everywhere. names nil means the DefaultFeatures.
func (s *TrainingSet) choose(names []string) (chosen, absent []string, columns []*column, err error) {
	if names == nil {
		names = DefaultFeatures()
	}
	if err := checkFeatures(names); err != nil {
		return nil, nil, nil, err
	}
	if s.rows && len(names) != s.width {
		return nil, nil, nil, fmt.Errorf("%w: the rows have %d values, and there are %d features: %s", ErrInvalid, s.width, len(names), shownNames(names))
	}
	for i, name := range names {
		if s.kept != nil && !s.rows && !s.kept[name] {
			return nil, nil, nil, fmt.Errorf("%w: the values of %s were not kept", ErrInvalid, shown(name))
		}
		key := name
		if s.rows {
			key = strconv.Itoa(i)
		}
		c := s.columns[key]
		switch {
		case c == nil:
			absent = append(absent, name)
			continue
		case c.bad != nil:
			return nil, nil, nil, c.bad
		}
		chosen, columns = append(chosen, name), append(columns, c)
	}
	if len(chosen) == 0 {
		chosen, columns = names[:1], []*column{{}}
	}
	return chosen, absent, columns, nil
}

// checkFeatures refuses names that no detector can have.
func checkFeatures(names []string) error {
	if len(names) == 0 || len(names) > maxFeatures {
		return fmt.Errorf("%w: there are %d features; there must be 1 to %d", ErrInvalid, len(names), maxFeatures)
	}
	for i, name := range names {
		switch {
		case name == "" || len(name) > 256:
			return fmt.Errorf("%w: a feature's name has 1 to 256 bytes, %s has %d", ErrInvalid, shown(name), len(name))
		case slices.Contains(names[:i], name):
			return fmt.Errorf("%w: the feature %s is named twice", ErrInvalid, shown(name))
		}
	}
	return nil
}

// matrix puts columns side by side: Samples rows, missing values 0.
func (s *TrainingSet) matrix(columns []*column) []float64 {
	d := len(columns)
	x := make([]float64, s.Samples*d)
	for j, c := range columns {
		for i, v := range c.values {
			x[i*d+j] = v
		}
	}
	return x
}
