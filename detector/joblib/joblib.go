// Package joblib reads and writes joblib files: Python objects pickled, with the bytes
// of numpy arrays laid raw between the opcodes.
//
// Reading executes nothing. Of the world of Python a file may only name a closed list
// of globals (globals.go); instances of classes become inert Objects, and whatever
// else a pickle could do is refused. Every length is checked against the bytes at hand
// before anything is allocated for it, and nothing follows values recursively: they may
// be nested without end, shared, or contain themselves. Whoever walks over them must
// bound the walk too.
//
// The pickle format is described in Python's pickletools, the arrays in joblib's
// numpy_pickle.
package joblib

import (
	"errors"
	"fmt"
	"strconv"
)

var (
	// ErrMalformed: not a joblib file, or a damaged or hostile one.
	ErrMalformed = errors.New("malformed joblib file")
	// ErrNoPickle: an ErrMalformed file that does not even look like one. Only files of
	// protocol 0 or 1 that are damaged can be taken for one that is something else.
	ErrNoPickle = fmt.Errorf("%w: no pickle", ErrMalformed)
	// ErrUnsupported: something that this package does not read. An error for a class
	// or function outside the list is a *GlobalError, too.
	ErrUnsupported = errors.New("unsupported joblib file")
	// ErrTooLarge: the file, or what it unpacks to, is beyond a limit.
	ErrTooLarge = errors.New("joblib file too large")
)

// GlobalError refuses a class or function that is not on the list.
type GlobalError struct {
	Global Global
	At     int // byte of the unpacked pickle behind its name
	// Root is the class whose instance the whole file is, as far as that was clear
	// when the reading ended; else the zero value.
	Root Global
}

func (e *GlobalError) Error() string {
	return fmt.Sprintf("%v: it holds %s (at byte %d)", ErrUnsupported, e.Global, e.At)
}
func (e *GlobalError) Unwrap() error { return ErrUnsupported }

// A value is one of nil, bool, int64, *big.Int (beyond int64), float64, string, []byte,
// or one of the types below. Numpy's scalars are read as plain numbers. Sets are read
// as lists.

// Global is a class or function by name.
type Global struct{ Module, Name string }

// String is fit for a terminal or a log: the name came from a file.
func (g Global) String() string {
	s := g.Module + "." + g.Name
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	q := strconv.QuoteToGraphic(s)
	return q[1 : len(q)-1]
}

// Tuple is a tuple.
type Tuple []any

// List is a list. It may contain itself.
type List struct{ Items []any }

// Dict is a dict in the order in which its keys came.
type Dict struct {
	Keys, Values []any
	texts        int            // how many keys are strings
	places       map[string]int // of them, where there are many keys
}

// fewKeys are found sooner without a map.
const fewKeys = 32

// Object is an instance: of which class, with which arguments it was made, and its
// state (nil, or a *Dict with string keys).
type Object struct {
	Class Global
	Args  Tuple
	State any
	built bool
}

// Set adds a string key, or gives it another value.
func (d *Dict) Set(name string, value any) {
	if i, ok := d.place(name); ok {
		d.Values[i] = value
		return
	}
	d.texts++
	if d.places != nil {
		d.places[name] = len(d.Keys)
	}
	d.Keys, d.Values = append(d.Keys, name), append(d.Values, value)
}

// Get gives the value of a string key.
func (d *Dict) Get(name string) (any, bool) {
	i, ok := d.place(name)
	if !ok {
		return nil, false
	}
	return d.Values[i], true
}

// place tells where a string key is.
func (d *Dict) place(name string) (i int, ok bool) {
	if d.places == nil && len(d.Keys) > fewKeys {
		d.places = map[string]int{}
		for i, k := range d.Keys {
			if k, ok := k.(string); ok {
				d.places[k] = i
			}
		}
	}
	if d.places != nil {
		i, ok = d.places[name]
		return i, ok
	}
	for i, k := range d.Keys {
		if k, ok := k.(string); ok && k == name {
			return i, true
		}
	}
	return 0, false
}

// Attribute gives the value of an attribute in the object's state.
func (o *Object) Attribute(name string) (any, bool) {
	d, ok := o.State.(*Dict)
	if !ok {
		return nil, false
	}
	return d.Get(name)
}
