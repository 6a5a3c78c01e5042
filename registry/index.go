package registry

import (
	"context"
	"errors"
	"fmt"
)

// index is the body of a label or operation object. It caches what the log says, and
// only what can't become false: that no record up to NoneThrough carries the name, or
// that Version does.
type index struct {
	revisions
	NoneThrough Number `json:"none_through"`
	Version     Number `json:"version,omitempty"`
}

// anchor makes sure that there is an index object under key before any record carries
// its name. It returns the number up to which none does; bound is one for certain.
func (r *Registry) anchor(ctx context.Context, t *turn, key string, bound Number) (Number, error) {
	data, err := seal(key, index{NoneThrough: bound})
	if err != nil {
		return 0, err
	}
	theirs, err := r.create(ctx, key, data)
	if err != nil || theirs == nil {
		return bound, err
	}
	var found index
	if err := unseal(key, theirs, &found); err != nil {
		return 0, err
	}
	if found.Version > 0 {
		t.saw(found.Version)
		return found.Version - 1, nil
	}
	return found.NoneThrough, nil
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

// numberOf finds the version that carries a label: by its index, and where the index
// does not know it, by reading on in the log.
func (r *Registry) numberOf(ctx context.Context, s series, label Label) (Number, error) {
	key := s.labelKey(label)
	var found index
	_, err := r.read(ctx, key, &found)
	switch {
	case isNotFound(err):
		return 0, fmt.Errorf("%s:%s: %w", s, label, ErrVersionNotFound)
	case err != nil:
		return 0, err
	case found.Version > 0:
		rec, err := r.record(ctx, s, found.Version)
		if err != nil {
			return 0, err
		}
		if rec.Label != label {
			return 0, corrupt(key, "names version %d, which does not carry the label", found.Version)
		}
		return found.Version, nil
	}
	top, err := r.top(ctx, s)
	if err != nil {
		return 0, err
	}
	var n Number
	err = r.recordRange(ctx, s, found.NoneThrough+1, top, func(rec *record) error {
		if rec.Label == label {
			n = rec.Version
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if !r.options.ReadOnly && (n > 0 || top > found.NoneThrough) {
		r.afterwards(ctx, "index "+key, func(ctx context.Context) error {
			return r.setIndex(ctx, key, index{Version: n, NoneThrough: top})
		})
	}
	if n == 0 {
		return 0, fmt.Errorf("%s:%s: %w", s, label, ErrVersionNotFound)
	}
	return n, nil
}
