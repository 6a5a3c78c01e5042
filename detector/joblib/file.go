package joblib

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// File is a joblib file as far as it was read.
type File struct {
	Root any // what was dumped; nil after an error

	Container string // what it is packed in: none, zlib, gzip, bz2, xz, lzma or lz4
	Size      int64  // bytes of the pickle, unpacked; 0 where the unpacking ended in an error
	// Protocols of the pickles in it, the outermost first, each once. 0 stands for 1 too:
	// neither says which it is.
	Protocols []int
	Globals   []Global // the classes and functions that it names, each once
	Arrays    int      // numpy arrays in joblib's own form
	// Unpadded counts those of them whose bytes follow the opcodes without padding: as
	// joblib 1.1 and older wrote all of them. A reader of plain pickles could be made to
	// execute such bytes; this one cannot.
	Unpadded int
	legacy   int // arrays without a word on padding
}

// JoblibVersion is what is known of the joblib that wrote the file, as a bound: ">=1.2",
// "<1.2", or "" where nothing in it tells.
func (f *File) JoblibVersion() string {
	switch {
	case f.Arrays > 0 && f.legacy == 0:
		return ">=1.2"
	case f.Arrays > 0 && f.legacy == f.Arrays:
		return "<1.2"
	}
	return ""
}

// Read reads a joblib file in any container and protocol. limit bounds the bytes of the
// file and those that it unpacks to, which are all held in memory. A file that is refused
// is not read much farther than it takes to see that; File tells what was seen of it.
func Read(r io.Reader, limit int64) (*File, error) {
	seen := &File{}
	refuses := func(beginning []byte) error {
		f := &file{work: maxWork, room: roomFor(len(beginning)), limit: limit, beginning: true}
		_, err := f.run(beginning)
		if errors.Is(err, errBeginning) {
			return nil
		}
		*seen = f.seen
		return err
	}
	data, container, err := unpack(r, limit, refuses)
	if err == nil {
		f := &file{work: maxWork, room: roomFor(len(data)), limit: limit}
		var root any
		root, err = f.run(data)
		*seen = f.seen
		seen.Root, seen.Size = root, int64(len(data))
	}
	seen.Container = container
	if err != nil {
		return seen, fmt.Errorf("read joblib: %w", err)
	}
	return seen, nil
}

// errBeginning: what was wanted lies behind the beginning of the file that is at hand.
var errBeginning = errors.New("only the beginning of a file")

// file is what a pickle shares with those nested in it.
type file struct {
	beginning bool  // more of it follows behind the data
	limit     int64 // bytes that may follow
	work      int
	room      int    // bytes that values may take
	root      Global // the class of the outermost instance
	seen      File
}

// run executes the outermost pickle.
func (f *file) run(data []byte) (any, error) {
	m := &machine{data: data, file: f}
	v, err := m.run()
	if err == nil && m.pos != len(data) {
		err = m.malformed("%d bytes after its end", len(data)-m.pos)
	}
	if err == nil && f.beginning {
		err = m.malformed("bytes after its end")
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// names notes a global, and tells whether it is the first.
func (f *file) names(g Global) (first bool) {
	first = len(f.seen.Globals) == 0
	if !slices.Contains(f.seen.Globals, g) {
		f.seen.Globals = append(f.seen.Globals, g)
	}
	return first
}

func (f *file) uses(protocol int) {
	if !slices.Contains(f.seen.Protocols, protocol) {
		f.seen.Protocols = append(f.seen.Protocols, protocol)
	}
}
