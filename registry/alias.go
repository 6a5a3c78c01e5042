package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"modelbucket/blob"
)

// aliasBody is the body of _aliases/<alias>.json. Version 0 is a removed alias: the
// object stays, and its revision goes on counting.
type aliasBody struct {
	revisions
	Version Number       `json:"version"`
	At      time.Time    `json:"at"`
	By      string       `json:"by"`
	Note    string       `json:"note,omitempty"`
	History []AliasEntry `json:"history"` // earlier states, newest first
}

// AliasEntry is one former state of an alias.
type AliasEntry struct {
	Revision int64     `json:"revision"`
	Version  *Number   `json:"version"` // null: it was removed
	At       time.Time `json:"at"`
	By       string    `json:"by"`
	Note     string    `json:"note"`
}

// AliasInfo is an alias as it is shown.
type AliasInfo struct {
	Alias     Alias        `json:"alias"`
	Version   Number       `json:"version"`
	Revision  int64        `json:"revision"`
	ChangedAt time.Time    `json:"changed_at"`
	ChangedBy string       `json:"changed_by"`
	Note      string       `json:"note"`
	History   []AliasEntry `json:"history"` // the last 50 states before this one, newest first
}

func aliasInfo(a Alias, b *aliasBody) *AliasInfo {
	history := b.History
	if history == nil {
		history = []AliasEntry{}
	}
	return &AliasInfo{Alias: a, Version: b.Version, Revision: b.Revision, ChangedAt: b.At, ChangedBy: b.By, Note: b.Note, History: history}
}

// Alias reads an alias with its history.
func (r *Registry) Alias(ctx context.Context, t Tenant, m Model, a Alias) (*AliasInfo, error) {
	s := series{t, m}
	body, _, err := readMutable[aliasBody](ctx, r, s.aliasKey(a))
	if err != nil {
		return nil, err
	}
	if body == nil || body.Version == 0 {
		return nil, r.noAlias(ctx, s, a)
	}
	return aliasInfo(a, body), nil
}

func (r *Registry) noAlias(ctx context.Context, s series, a Alias) error {
	if body, err := r.readModel(ctx, s); err != nil {
		return err
	} else if body == nil {
		return fmt.Errorf("%s: %w", s, ErrModelNotFound)
	}
	return fmt.Errorf("%w: %s has no alias %s", ErrAliasNotFound, s, a)
}

// aliasNames lists the aliases of a model, the removed ones too.
func (r *Registry) aliasNames(ctx context.Context, s series) ([]Alias, error) {
	var names []Alias
	err := r.each(ctx, s.aliasesPrefix(), func(o blob.Object) error {
		if l := s.locate(o.Key); l.kind == kindAlias {
			names = append(names, Alias(l.name))
		}
		return nil
	})
	return names, err
}

// Aliases reads the aliases of a model that are set, in the order of the listing.
func (r *Registry) Aliases(ctx context.Context, t Tenant, m Model) ([]*AliasInfo, error) {
	s := series{t, m}
	names, err := r.aliasNames(ctx, s)
	if err != nil {
		return nil, err
	}
	bodies := make([]*aliasBody, len(names))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for i, a := range names {
		g.Go(func() (err error) { bodies[i], _, err = readMutable[aliasBody](gctx, r, s.aliasKey(a)); return err })
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("read aliases of %s: %w", s, err)
	}
	set := []*AliasInfo{}
	for i, b := range bodies {
		if b != nil && b.Version != 0 {
			set = append(set, aliasInfo(names[i], b))
		}
	}
	return set, nil
}

// AliasChange moves an alias. IfRevision and IfVersion are expectations; where they do
// not hold the change is ErrPrecondition. 0 in either means: it must not be set.
type AliasChange struct {
	To         Number
	IfRevision *int64
	IfVersion  *Number
	By, Note   string

	nonce string // names the change, so that a repeat is not made twice
	// repeatOf is when the change was first to be made, where this is a repeat: it is not
	// made once the alias has gone on so far that it may have been, and be forgotten.
	repeatOf time.Time
}

// clockError is how far the clock of a node may be wrong where the time of a change is
// asked for and nothing is lost by a mistake.
const clockError = time.Hour

// forgets tells whether a change that was made after a time may be among those that the
// alias no longer remembers.
func (b *aliasBody) forgets(at time.Time) bool {
	if b.Revision <= keptRevisions || len(b.History) == 0 {
		return false
	}
	return b.History[len(b.History)-1].At.After(at.Add(-clockError))
}

func (c AliasChange) admits(a Alias, old *aliasBody) error {
	state, revision, version := "not set", int64(0), Number(0)
	if old != nil && old.Version != 0 {
		revision, version = old.Revision, old.Version
		state = fmt.Sprintf("at version %d, revision %d, set by %s at %s", version, revision, old.By, old.At.Format(time.RFC3339))
	}
	if c.IfRevision != nil && *c.IfRevision != revision {
		return fmt.Errorf("%w: alias %s is %s; expected was revision %d", ErrPrecondition, a, state, *c.IfRevision)
	}
	if c.IfVersion != nil && *c.IfVersion != version {
		return fmt.Errorf("%w: alias %s is %s; expected was version %d", ErrPrecondition, a, state, *c.IfVersion)
	}
	return nil
}

// next is the state that the change makes of old.
func (c AliasChange) next(old *aliasBody, at time.Time) *aliasBody {
	b := &aliasBody{Version: c.To, At: at, By: c.By, Note: c.Note}
	if old == nil {
		return b
	}
	b.revisions = old.revisions
	was := AliasEntry{Revision: old.Revision, At: old.At, By: old.By, Note: old.Note}
	if old.Version != 0 {
		was.Version = &old.Version
	}
	b.History = append([]AliasEntry{was}, old.History[:min(len(old.History), keptRevisions-1)]...)
	return b
}

// before is the version that the alias named before its last change; 0: none.
func (b *aliasBody) before() Number {
	if len(b.History) == 0 || b.History[0].Version == nil {
		return 0
	}
	return *b.History[0].Version
}

// SetAlias moves an alias to version c.To by compare-and-swap, or makes it. Who deletes
// a version looks for aliases before and after; who sets one looks for the deletion
// before and after, and takes the change back: one of the two always sees the other. Where
// that one does nothing more, as its node died, the collector takes the change back.
func (r *Registry) SetAlias(ctx context.Context, t Tenant, m Model, a Alias, c AliasChange) (*AliasInfo, error) {
	what := AuditRecord{Action: AuditAliasSet, Tenant: t, Model: m, Alias: a, Version: c.To}
	return audited(ctx, r, what, func(made *change) (*AliasInfo, error) {
		c.nonce = made.id()
		return r.setAlias(ctx, t, m, a, c)
	})
}

func (r *Registry) setAlias(ctx context.Context, t Tenant, m Model, a Alias, c AliasChange) (*AliasInfo, error) {
	if err := checkNote(c.Note); err != nil {
		return nil, err
	}
	s := series{t, m}
	if err := r.promotable(ctx, s, c.To); err != nil {
		return nil, err
	}
	var kept *aliasBody
	set, err := update(ctx, r, s.aliasKey(a), c.nonce, func(old *aliasBody) (*aliasBody, error) {
		switch {
		case old == nil:
			if err := r.admitsAlias(ctx, s); err != nil {
				return nil, err
			}
		case !c.repeatOf.IsZero() && old.forgets(c.repeatOf):
			kept = old
			return nil, errKeep
		}
		return c.next(old, r.stamp()), c.admits(a, old)
	})
	switch {
	case errors.Is(err, errKeep):
		return aliasInfo(a, kept), nil
	case err != nil:
		return nil, fmt.Errorf("set alias %s of %s: %w", a, s, err)
	}
	err = r.alive(ctx, s, c.To)
	switch {
	case err == nil:
		return aliasInfo(a, set), nil
	case !errors.Is(err, ErrVersionDeleted):
		return nil, fmt.Errorf("set alias %s of %s: %w: whether version %d was deleted meanwhile: %w", a, s, ErrOutcomeUnknown, c.To, err)
	}
	if set.Version != c.To { // the change was made earlier, and another has followed it
		return nil, err
	}
	_, undone := r.takeBack(ctx, s, a, set, c.By, fmt.Sprintf("taken back: version %d was deleted meanwhile", set.Version))
	return nil, errors.Join(err, undone)
}

// aliasesOfModel is how many aliases a model may have, those counted that were removed:
// each is an object for good. Who make one at the same time may exceed it by as many.
const aliasesOfModel = 1000

// admitsAlias refuses one more alias of a model that has enough.
func (r *Registry) admitsAlias(ctx context.Context, s series) error {
	page, err := r.bucket.List(ctx, blob.ListOptions{Prefix: s.aliasesPrefix(), Limit: aliasesOfModel})
	switch {
	case err != nil:
		return fmt.Errorf("count aliases of %s: %w", s, err)
	case len(page.Objects) >= aliasesOfModel:
		return fmt.Errorf("%w: %s has %d aliases, which is the most that a model may have", ErrInvalid, s, len(page.Objects))
	}
	return nil
}

// promotable is nil when an alias may be set to version n: it is there, not deleted, and
// is served.
func (r *Registry) promotable(ctx context.Context, s series, n Number) error {
	var asked signatures
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.alive(gctx, s, n) })
	g.Go(func() (err error) { asked, err = r.signatures(gctx, s.tenant); return err })
	if err := g.Wait(); err != nil || asked.mode != SignaturesRequire {
		return err
	}
	v, err := r.immutable(ctx, s, n)
	if err != nil {
		return err
	}
	return r.admit(ctx, v, asked)
}

// alive is nil when version n is there and not deleted.
func (r *Registry) alive(ctx context.Context, s series, n Number) error {
	_, deleted, err := r.state(ctx, s, n)
	switch {
	case errors.Is(err, ErrVersionNotFound):
		return r.noVersion(ctx, s, Selector{Number: n})
	case err == nil && deleted:
		return fmt.Errorf("%s:%d: %w", s, n, ErrVersionDeleted)
	}
	return err
}

// takeBack undoes a change that met a deletion, unless another has followed it: the
// alias names again what it named before, or nothing where that is deleted too. note
// goes into its history. done tells that this call, and nobody else, undid it.
func (r *Registry) takeBack(ctx context.Context, s series, a Alias, set *aliasBody, by, note string) (done bool, err error) {
	for {
		to, err := r.unlessDeleted(ctx, s, set.before())
		if err != nil {
			return done, outcome(true, fmt.Errorf("alias %s may still name version %d: %w", a, set.Version, err))
		}
		back, err := update(ctx, r, s.aliasKey(a), "", func(now *aliasBody) (*aliasBody, error) {
			if now == nil || now.Revision != set.Revision {
				return nil, errKeep
			}
			return AliasChange{To: to, By: by, Note: note}.next(now, r.stamp()), nil
		})
		switch {
		case errors.Is(err, errKeep):
			return done, nil
		case err != nil:
			return done, outcome(true, fmt.Errorf("alias %s may still name version %d: %w", a, set.Version, err))
		}
		done = true
		// Whoever deletes that one looked for aliases, perhaps before this was undone.
		still, err := r.unlessDeleted(ctx, s, to)
		switch {
		case err != nil:
			return done, outcome(true, fmt.Errorf("whether version %d was deleted meanwhile: %w", to, err))
		case still == to:
			return done, nil
		}
		set = back
	}
}

// unlessDeleted is n while that version is there, and 0 once it is deleted.
func (r *Registry) unlessDeleted(ctx context.Context, s series, n Number) (Number, error) {
	if n == 0 {
		return 0, nil
	}
	_, deleted, err := r.state(ctx, s, n)
	if err != nil || deleted {
		return 0, err
	}
	return n, nil
}

// DeleteAlias removes an alias; c.To does not matter. Its history stays and goes on
// when the alias is made anew.
func (r *Registry) DeleteAlias(ctx context.Context, t Tenant, m Model, a Alias, c AliasChange) (*AliasInfo, error) {
	what := AuditRecord{Action: AuditAliasDelete, Tenant: t, Model: m, Alias: a}
	return audited(ctx, r, what, func(made *change) (*AliasInfo, error) {
		c.nonce = made.id()
		return r.deleteAlias(ctx, t, m, a, c)
	})
}

func (r *Registry) deleteAlias(ctx context.Context, t Tenant, m Model, a Alias, c AliasChange) (*AliasInfo, error) {
	if err := checkNote(c.Note); err != nil {
		return nil, err
	}
	s := series{t, m}
	c.To = 0
	body, err := update(ctx, r, s.aliasKey(a), c.nonce, func(old *aliasBody) (*aliasBody, error) {
		if old == nil || old.Version == 0 {
			return nil, r.noAlias(ctx, s, a)
		}
		return c.next(old, r.stamp()), c.admits(a, old)
	})
	if err != nil {
		return nil, fmt.Errorf("delete alias %s of %s: %w", a, s, err)
	}
	return aliasInfo(a, body), nil
}
