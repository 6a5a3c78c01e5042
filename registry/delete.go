package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Deletion says who deletes and why. IfNumber, unless it is 0, is the number that the
// reference is expected to stand for: a guard for "latest".
type Deletion struct {
	By, Reason string
	IfNumber   Number
}

// trash is the body of _trash/<first>-<last>.json: versions that were to be deleted,
// for the collector. Written before the deletion, so that none is forgotten.
type trash struct {
	First Number    `json:"first"`
	Last  Number    `json:"last"`
	At    time.Time `json:"at"`
}

// DeleteVersion deletes a version for good: its number and label stay taken, its files
// go after the retention. While an alias names it, it is ErrAliasInUse.
func (r *Registry) DeleteVersion(ctx context.Context, ref Ref, d Deletion) (*Version, error) {
	what := ref.audit(AuditVersionDelete)
	return audited(ctx, r, what, func(made *change) (*Version, error) {
		return r.deleteVersion(ctx, ref, d, made)
	})
}

func (r *Registry) deleteVersion(ctx context.Context, ref Ref, d Deletion, made *change) (*Version, error) {
	v, err := r.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	made.tell(func(a *AuditRecord) { a.Version = v.Version })
	s := v.series()
	if d.IfNumber != 0 && d.IfNumber != v.Version {
		return nil, fmt.Errorf("delete %s: %w: it is version %d, expected was %d", ref, ErrPrecondition, v.Version, d.IfNumber)
	}
	if err := r.fill(ctx, v); err != nil {
		return nil, err
	}
	if len(v.Aliases) > 0 {
		return nil, fmt.Errorf("%w: %s is what %s names", ErrAliasInUse, v.Ref(), listed(v.Aliases))
	}
	t := tombstone{Nonce: cmp.Or(made.id(), uuid.NewString()), At: r.stamp(), By: d.By, Reason: d.Reason}
	if err := r.bury(ctx, s, v.Version, t); err != nil {
		return nil, fmt.Errorf("delete %s: %w", v.Ref(), err)
	}
	r.gone(s.tenant, 1)
	v.State, v.DeletedAt, v.DeletedBy = StateDeleted, &t.At, t.By
	// An alias that was set meanwhile is taken back by its setter, who sees the
	// tombstone, or by the collector; until then the answer shows it.
	aliases, err := r.Aliases(ctx, s.tenant, s.model)
	v.setAliases(aliases)
	if err != nil {
		return nil, unread(err)
	}
	return v, nil
}

// listed is "@champion, @stable".
func listed(aliases []Alias) string {
	slices.Sort(aliases)
	var names []string
	for _, a := range aliases {
		names = append(names, Selector{Alias: a}.String())
	}
	return strings.Join(names, ", ")
}

// bury writes the tombstone of a version.
func (r *Registry) bury(ctx context.Context, s series, n Number, t tombstone) error {
	if err := r.discard(ctx, s, n, n); err != nil {
		return err
	}
	key := s.tombstoneKey(n)
	data, err := seal(key, t)
	if err != nil {
		return err
	}
	theirs, err := r.create(ctx, key, data)
	switch {
	case errors.Is(err, errUndecided):
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	case err != nil:
		return err
	case theirs != nil:
		return fmt.Errorf("%w: by another, just now", ErrVersionDeleted)
	}
	return nil
}

// discard leaves word for the collector.
func (r *Registry) discard(ctx context.Context, s series, first, last Number) error {
	key := s.trashKey(first, last)
	data, err := seal(key, trash{First: first, Last: last, At: r.stamp()})
	if err != nil {
		return err
	}
	return r.put(ctx, key, data)
}

// DeleteModel deletes a model with all the versions that it has now. Its log stays: a
// model made anew under the name goes on counting. While an alias is set, it is
// ErrAliasInUse.
func (r *Registry) DeleteModel(ctx context.Context, t Tenant, m Model, d Deletion) (*ModelInfo, error) {
	what := AuditRecord{Action: AuditModelDelete, Tenant: t, Model: m}
	return audited(ctx, r, what, func(made *change) (*ModelInfo, error) {
		return r.deleteModel(ctx, t, m, d, made.id())
	})
}

func (r *Registry) deleteModel(ctx context.Context, t Tenant, m Model, d Deletion, nonce string) (*ModelInfo, error) {
	s := series{t, m}
	info, err := r.Model(ctx, t, m)
	if err != nil {
		return nil, err
	}
	if len(info.Aliases) > 0 {
		return nil, fmt.Errorf("%w: versions of %s are what %s names", ErrAliasInUse, s, listed(slices.Collect(maps.Keys(info.Aliases))))
	}
	top, err := r.top(ctx, s)
	if err != nil {
		return nil, err
	}
	_, err = update(ctx, r, s.modelKey(), nonce, func(old *modelBody) (*modelBody, error) {
		if old == nil {
			return nil, fmt.Errorf("%s: %w", s, ErrModelNotFound)
		}
		if top > old.DeletedThrough {
			if err := r.discard(ctx, s, old.DeletedThrough+1, top); err != nil {
				return nil, err
			}
		}
		next := *old
		next.Description, next.Tags = "", nil
		next.Deleted, next.DeletedAt, next.DeletedBy = true, r.stamp(), d.By
		next.DeletedThrough = max(top, old.DeletedThrough)
		return &next, nil
	})
	if err != nil {
		return nil, fmt.Errorf("delete %s: %w", s, err)
	}
	r.doubt(t)
	info.Latest, info.Aliases = nil, map[Alias]Number{}
	// As with a version: an alias that was set meanwhile is in the answer.
	aliases, err := r.Aliases(ctx, t, m)
	if err != nil {
		return nil, unread(err)
	}
	for _, a := range aliases {
		info.Aliases[a.Alias] = a.Version
	}
	return info, nil
}
