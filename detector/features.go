package detector

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// features finds the values of a detector's features in events.
type features struct {
	names  []string // empty where they have none: then only rows will do
	width  int
	index  map[string]int
	order  []int  // which feature stood at each place of the event before: mostly it is there again
	seen   []bool // which ones the event had, null or not
	filled []bool // … and had a number for
	name   []byte // an unescaped name
}

func newFeatures(names []string, width int) *features {
	f := &features{names: names, width: width, index: map[string]int{}, seen: make([]bool, width), filled: make([]bool, width)}
	for i, name := range names {
		f.index[name] = i
	}
	return f
}

// maxPlaces is how many places of an event are remembered.
const maxPlaces = 256

// find returns the feature of this name, or −1. place is where in the event it stands.
func (f *features) find(place int, name []byte) int {
	if place < len(f.order) {
		if i := f.order[place]; i >= 0 && f.names[i] == string(name) {
			return i
		}
	}
	i, ok := f.index[string(name)]
	if !ok {
		i = -1
	}
	if place < maxPlaces {
		for len(f.order) <= place {
			f.order = append(f.order, -1)
		}
		f.order[place] = i
	}
	return i
}

// label names a feature for people.
func (f *features) label(i int) string {
	if i < len(f.names) {
		return f.names[i]
	}
	return strconv.Itoa(i)
}

// read writes the event's values to dst, one for each feature; those it lacks are 0.
// Afterwards f.filled tells which it had. The error is an ErrBadEvent, or ErrBadBody
// where the event can't even be taken apart.
func (f *features) read(e *Event, dst []float64) error {
	clear(dst)
	clear(f.seen)
	clear(f.filled)
	places, bad, err := f.takeAll(e, dst)
	if err != nil {
		return err
	}
	switch {
	case bad != nil:
		return bad
	case e.row && places != f.width:
		return fmt.Errorf("%w: it has %d values; the detector takes %d", ErrBadEvent, places, f.width)
	case !f.some() && len(f.names) == 0:
		return fmt.Errorf(`%w: the detector's features have no names: send "rows"`, ErrBadEvent)
	case !f.some():
		return fmt.Errorf("%w: it has none of the features %s", ErrBadEvent, shownNames(f.names))
	}
	return nil
}

// takeAll takes the event's values and counts them. bad is what is wrong with one of
// them, err with the event.
func (f *features) takeAll(e *Event, dst []float64) (places int, bad, err error) {
	if e.scanned {
		for i := range e.spans {
			s := &e.spans[i]
			if bad = f.take(dst, i, e.row, e.text[s.name:s.nameEnd], value{json: e.text[s.value:s.valueEnd]}); bad != nil {
				break
			}
		}
		return len(e.spans), bad, nil
	}
	all, err := e.fields(&f.name)
	if err != nil {
		return 0, nil, err
	}
	for {
		name, v, ok, err := all.next()
		if err != nil || !ok {
			return places, bad, err
		}
		if bad == nil {
			bad = f.take(dst, places, e.row, name, v)
		}
		places++
	}
}

// take takes a value, if it is one of a feature.
func (f *features) take(dst []float64, place int, row bool, name []byte, v value) error {
	i := place
	if !row {
		i = f.find(place, name)
	}
	if i < 0 || i >= f.width {
		return nil
	}
	x, filled, err := v.number()
	dst[i], f.seen[i], f.filled[i] = x, true, filled
	if err != nil {
		return fmt.Errorf("%w: %s %w", ErrBadEvent, shown(f.label(i)), err)
	}
	return nil
}

func (f *features) some() bool {
	for _, seen := range f.seen {
		if seen {
			return true
		}
	}
	return false
}

// shownNames lists names for an error's text, the first few of them.
func shownNames(names []string) string {
	const most = 10
	var quoted []string
	for _, name := range names[:min(most, len(names))] {
		quoted = append(quoted, shown(name))
	}
	if len(names) > most {
		quoted = append(quoted, fmt.Sprintf("and %d others", len(names)-most))
	}
	return strings.Join(quoted, ", ")
}

// value is one value of an event: JSON, or the text of a cell.
type value struct {
	json []byte
	cell string
}

// number reads the value of a feature; ok is false where it is missing: null, or an
// empty cell. A cell may hold any decimal number, with space around it. The error is
// to follow the feature's name.
func (v value) number() (x float64, ok bool, err error) {
	if v.json == nil {
		return cellNumber(strings.Trim(v.cell, " \t"))
	}
	switch kind := jsontext.Kind(v.json[0]); kind {
	case 'n':
		return 0, false, nil
	case '"', '[', '{', 't', 'f':
		return 0, false, fmt.Errorf("is %s; it must be a number", kindName(kind))
	}
	if x, ok := shortNumber(v.json); ok {
		return x, true, nil
	}
	x, err = strconv.ParseFloat(string(v.json), 64)
	if err != nil {
		return 0, false, errNotFinite // its grammar was proven
	}
	return x, true, nil
}

func cellNumber(text string) (x float64, ok bool, err error) {
	if text == "" {
		return 0, false, nil
	}
	x, err = strconv.ParseFloat(text, 64)
	switch {
	case strings.Trim(text, "+-.eE0123456789") != "", err != nil && x == 0:
		return 0, false, fmt.Errorf("is %s; it must be a number", shown(text))
	case err != nil:
		return 0, false, errNotFinite
	}
	return x, true, nil
}

var errNotFinite = errors.New("is not a finite number")
