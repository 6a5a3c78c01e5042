package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"golang.org/x/sync/errgroup"

	"modelbucket/blob"
)

// Resolve finds the version that ref names. It fills what never changes, and State;
// aliases, description and tags are those of Version. A deleted version is
// ErrVersionDeleted, never silently the next one.
func (r *Registry) Resolve(ctx context.Context, ref Ref) (*Version, error) {
	s := series{ref.Tenant, ref.Model}
	n, err := r.number(ctx, s, ref.Selector)
	if err != nil {
		return nil, err
	}
	if ref.Selector.IsLatest() {
		return r.immutable(ctx, s, n)
	}
	v, err := r.anyState(ctx, s, n)
	if err == nil && v.State == StateDeleted {
		return nil, fmt.Errorf("%s: %w: it was version %d of %s", ref, ErrVersionDeleted, n, s)
	}
	return v, err
}

// number finds the number that a selector stands for. Only for latest it is certain
// that the version exists and is not deleted.
func (r *Registry) number(ctx context.Context, s series, sel Selector) (Number, error) {
	switch {
	case sel.Number != 0:
		return sel.Number, nil
	case sel.Label != "":
		n, err := r.numberOf(ctx, s, sel.Label)
		if errors.Is(err, ErrVersionNotFound) {
			err = r.noVersion(ctx, s, sel)
		}
		return n, err
	case sel.Alias != "":
		a, err := r.Alias(ctx, s.tenant, s.model, sel.Alias)
		if err != nil {
			return 0, err
		}
		return a.Version, nil
	}
	n, err := r.latest(ctx, s, true)
	if err == nil && n == 0 {
		err = r.noVersion(ctx, s, sel)
	}
	return n, err
}

// anyState is a version with its state, deleted or not.
func (r *Registry) anyState(ctx context.Context, s series, n Number) (*Version, error) {
	var v *Version
	var deleted bool
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { _, deleted, err = r.state(gctx, s, n); return err })
	g.Go(func() (err error) { v, err = r.immutable(gctx, s, n); return err })
	if err := g.Wait(); err != nil {
		if errors.Is(err, ErrVersionNotFound) || isNotFound(err) {
			// Both ask for the record; whichever was first to miss it.
			return nil, r.noVersion(ctx, s, Selector{Number: n})
		}
		return nil, err
	}
	if deleted {
		v.State = StateDeleted
	}
	return v, nil
}

// noVersion explains why there is no such version, as far as that can be learnt.
func (r *Registry) noVersion(ctx context.Context, s series, sel Selector) error {
	body, err := r.readModel(ctx, s)
	if err != nil {
		return err
	}
	if body == nil {
		return fmt.Errorf("%s: %w", s, ErrModelNotFound)
	}
	latest := Number(0)
	if !sel.IsLatest() { // else there was none a moment ago, and that is the answer
		if latest, err = r.latest(ctx, s, false); err != nil {
			return err
		}
	}
	switch {
	case latest == 0 && body.Deleted:
		return fmt.Errorf("%s: %w", s, ErrModelNotFound)
	case latest == 0:
		return fmt.Errorf("%w: %s has no versions", ErrVersionNotFound, s)
	}
	return fmt.Errorf("%w: %s has no version %s; latest is %d", ErrVersionNotFound, s, sel, latest)
}

// immutable is what record n and its metadata.json say: a copy, to be filled further.
func (r *Registry) immutable(ctx context.Context, s series, n Number) (*Version, error) {
	id := recordID{s, n}
	v, ok := r.stored.get(id)
	if !ok {
		rec, err := r.record(ctx, s, n)
		if err != nil {
			return nil, err
		}
		m, err := r.readMetadata(ctx, s, rec)
		if err != nil {
			return nil, err
		}
		v = versionOf(rec, m)
		r.stored.put(id, v)
	}
	c := *v
	c.Tags = maps.Clone(v.Tags)
	return &c, nil
}

// readMetadata reads metadata.json of a record and verifies it against the digest
// that the record names; once more, as the damage may have been the line's.
func (r *Registry) readMetadata(ctx context.Context, s series, rec *record) (*metadata, error) {
	key := s.metadataKey(rec.Folder)
	var err error
	for range 2 {
		var data []byte
		data, _, err = r.readAll(ctx, key)
		switch {
		case isNotFound(err):
			return nil, corrupt(key, "is missing, and version %d names it", rec.Version)
		case err != nil:
			return nil, err
		case hexSHA256(data) != rec.MetadataSHA256:
			err = corrupt(key, "does not have the SHA-256 that the record of version %d names", rec.Version)
			continue
		}
		m := new(metadata)
		if err = unseal(key, data, m); err != nil {
			continue
		}
		if m.Tenant != s.tenant || m.Model != s.model || m.ID != rec.Folder {
			return nil, corrupt(key, "is the metadata of another version")
		}
		return m, nil
	}
	return nil, err
}

// Version finds the version that ref names, with all that is known of it.
func (r *Registry) Version(ctx context.Context, ref Ref) (*Version, error) {
	v, err := r.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	return v, r.fill(ctx, v)
}

// fill adds what may change: aliases, description and tags.
func (r *Registry) fill(ctx context.Context, v *Version) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.fillAttributes(gctx, v) })
	g.Go(func() error {
		aliases, err := r.Aliases(gctx, v.Tenant, v.Model)
		v.setAliases(aliases)
		return err
	})
	return g.Wait()
}

func (r *Registry) fillAttributes(ctx context.Context, v *Version) error {
	a, _, err := readMutable[attributes](ctx, r, v.series().attributesKey(v.Version))
	if err == nil && a != nil {
		v.Description, v.Revision = a.Description, a.Revision
		v.Tags = a.tags()
	}
	return err
}

func (v *Version) setAliases(aliases []*AliasInfo) {
	v.Aliases = []Alias{}
	for _, a := range aliases {
		if a.Version == v.Version {
			v.Aliases = append(v.Aliases, a.Alias)
		}
	}
}

// VersionQuery chooses a page of versions: those below Before (0: all), newest first,
// at most Limit (0: 100) and about pageBytes. Deleted shows the deleted ones too.
type VersionQuery struct {
	Before  Number
	Limit   int
	Deleted bool
}

// VersionPage is a page of versions; Next, unless it is 0, is the Before of the next.
// It is exact for the moment of its listing; pages together show every version that
// was there throughout.
type VersionPage struct {
	Versions []*Version
	Next     Number
}

// Versions lists the versions of a model.
func (r *Registry) Versions(ctx context.Context, t Tenant, m Model, q VersionQuery) (VersionPage, error) {
	s := series{t, m}
	body, err := r.readModel(ctx, s)
	if err != nil {
		return VersionPage{}, err
	}
	if body == nil {
		return VersionPage{}, fmt.Errorf("%s: %w", s, ErrModelNotFound)
	}
	limit := pageLimit(q.Limit)
	chosen, more, err := r.choose(ctx, s, q, limit, body.DeletedThrough)
	if err != nil {
		return VersionPage{}, err
	}
	if body.Deleted && len(chosen) == 0 && q.Before == 0 {
		return VersionPage{}, fmt.Errorf("%s: %w", s, ErrModelNotFound)
	}
	var page VersionPage
	var aliases []*AliasInfo
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { aliases, err = r.Aliases(gctx, t, m); return err })
	g.Go(func() (err error) {
		var done int
		page.Versions, done, err = gather(gctx, new(pageMeter), len(chosen), func(ctx context.Context, i int) (*Version, error) {
			return r.listed(ctx, s, chosen[i], body)
		})
		if more || done < len(chosen) {
			page.Next = chosen[max(0, done-1)].number
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return VersionPage{}, fmt.Errorf("list versions of %s: %w", s, err)
	}
	for _, v := range page.Versions {
		v.setAliases(aliases)
	}
	return page, nil
}

// choose lists the log until it has limit entries that q wants.
func (r *Registry) choose(ctx context.Context, s series, q VersionQuery, limit int, deletedThrough Number) (chosen []entry, more bool, err error) {
	keys := min(limit+keysForScan, keysForPage)
	for before := q.Before; ; keys = keysForPage {
		entries, complete, err := r.logPage(ctx, s, before, keys)
		if err != nil {
			return nil, false, err
		}
		for _, e := range entries {
			before = e.number
			e.deleted = e.deleted || e.number <= deletedThrough
			if e.deleted && !q.Deleted {
				continue
			}
			if len(chosen) == limit {
				return chosen, true, nil
			}
			chosen = append(chosen, e)
		}
		if complete {
			return chosen, false, nil
		}
	}
}

// listed is one version of a page.
func (r *Registry) listed(ctx context.Context, s series, e entry, body *modelBody) (*Version, error) {
	v, err := r.immutable(ctx, s, e.number)
	if err != nil {
		return nil, err
	}
	if e.described {
		if err := r.fillAttributes(ctx, v); err != nil {
			return nil, err
		}
	}
	if !e.deleted {
		return v, nil
	}
	return v, r.fillDeleted(ctx, v, body)
}

// fillDeleted says when and by whom a version was deleted: alone, or with its model.
func (r *Registry) fillDeleted(ctx context.Context, v *Version, body *modelBody) error {
	v.State = StateDeleted
	var t tombstone
	_, err := r.read(ctx, v.series().tombstoneKey(v.Version), &t)
	switch {
	case err == nil:
		v.DeletedAt, v.DeletedBy = &t.At, t.By
	case errors.Is(err, blob.ErrNotFound):
		if !body.DeletedAt.IsZero() {
			v.DeletedAt, v.DeletedBy = &body.DeletedAt, body.DeletedBy
		}
	default:
		return err
	}
	return nil
}
