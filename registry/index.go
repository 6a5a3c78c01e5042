package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// index is the body of a label or operation object. It caches what the log says, and
// only what can't become false: that no record up to NoneThrough carries the name, or
// that Version does.
type index struct {
	revisions
	NoneThrough Number `json:"none_through"`
	Version     Number `json:"version,omitempty"`
}

// free is a number up to which no record carries the name.
func (i index) free() Number {
	if i.Version > 0 {
		return i.Version - 1
	}
	return i.NoneThrough
}

// anchor makes sure that there is an index object under key before any record carries
// its name. It returns the one that is there: bound, which must be true, or what an
// earlier publisher left.
func (r *Registry) anchor(ctx context.Context, key string, bound index) (found index, earlier bool, err error) {
	bound.add(uuid.NewString())
	data, err := seal(key, bound)
	if err != nil {
		return index{}, false, err
	}
	theirs, err := r.create(ctx, key, data)
	if err != nil || theirs == nil {
		return bound, false, err
	}
	err = unseal(key, theirs, &found)
	return found, true, err
}

// setIndex moves an index object forward.
func (r *Registry) setIndex(ctx context.Context, key string, to index) error {
	_, err := update(ctx, r, key, "", func(old *index) (*index, error) {
		next := to
		if old != nil {
			if old.Version > 0 || to.Version == 0 && old.NoneThrough >= to.NoneThrough {
				return nil, errKeep
			}
			next.revisions = old.revisions
		}
		return &next, nil
	})
	if errors.Is(err, errKeep) {
		return nil
	}
	return err
}

// errKeep lets a change of update say that nothing needs changing.
var errKeep = errors.New("nothing to change")

// numberOf finds the version that carries a label, and lets the index know what it
// learnt from the log.
func (r *Registry) numberOf(ctx context.Context, s series, label Label) (Number, error) {
	said, known, err := r.findLabel(ctx, s, label)
	if err != nil {
		return 0, err
	}
	if !r.options.ReadOnly && (known.Version > said.Version || known.NoneThrough > said.NoneThrough) {
		key := s.labelKey(label)
		r.afterwards(ctx, "index "+key, func(ctx context.Context) error { return r.setIndex(ctx, key, known) })
	}
	if known.Version == 0 {
		return 0, fmt.Errorf("%s:%s: %w", s, label, ErrVersionNotFound)
	}
	return known.Version, nil
}

// findLabel reads what the index of a label says, and where that does not know the
// version, reads on in the log: known is what is true now.
func (r *Registry) findLabel(ctx context.Context, s series, label Label) (said, known index, err error) {
	key := s.labelKey(label)
	_, err = r.read(ctx, key, &said)
	switch {
	case isNotFound(err):
		return index{}, index{}, nil
	case err != nil:
		return index{}, index{}, err
	case said.Version > 0:
		rec, err := r.record(ctx, s, said.Version)
		if err == nil && rec.Label != label {
			err = corrupt(key, "names version %d, which does not carry the label", said.Version)
		}
		return said, said, err
	}
	known = index{NoneThrough: said.NoneThrough}
	top, err := r.top(ctx, s)
	if err != nil {
		return said, known, err
	}
	err = r.recordRange(ctx, s, said.NoneThrough+1, top, func(rec *record) error {
		if rec.Label == label {
			known.Version = rec.Version
		}
		return nil
	})
	known.NoneThrough = max(known.NoneThrough, top)
	return said, known, err
}
