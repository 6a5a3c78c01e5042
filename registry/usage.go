package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"modelbucket/blob"
)

// Usage is what a tenant has: in the store, and of one node's resources where a node
// tells.
type Usage struct {
	Versions    int64     `json:"versions"`     // that are not deleted, of all models
	StoredBytes int64     `json:"stored_bytes"` // of all objects: a deleted version's files count until they are collected
	CountedAt   time.Time `json:"counted_at"`   // by a listing; what this node did since is in the figures
	Uploads     int64     `json:"uploads"`      // under way on the node that answers
	CachedBytes int64     `json:"cached_bytes"` // of detectors in its memory
}

// How old a count may be. One that took long is made less often, so that counting never
// takes more than a small share of what a store can do.
const (
	countAge      = time.Minute     // then it is made anew, while the old one is used …
	countPatience = 2               // … up to so many times that age; then it is waited for
	doubtAge      = 5 * time.Second // nobody is refused because of an older one
	countShare    = 20              // what took t is counted again after countShare × t …
	doubtShare    = 5               // … or, before somebody is refused, after doubtShare × t
	countTimeout  = 10 * time.Minute
)

// amount is what counts of versions and of bytes.
type amount struct{ versions, bytes int64 }

func (a amount) plus(b amount) amount  { return amount{a.versions + b.versions, a.bytes + b.bytes} }
func (a amount) minus(b amount) amount { return amount{a.versions - b.versions, a.bytes - b.bytes} }

// account is what this node knows of what a tenant has: what the last listing counted,
// and what the node itself did since that began. What it did while the listing was under
// way may count twice, until the next one. What other nodes do is not known before.
type account struct {
	mu      sync.Mutex
	counted amount
	since   amount    // done by this node since the count began
	claimed amount    // of uploads under way
	at      time.Time // when the count began; zero: there was none yet
	took    time.Duration
	doubts  int    // how often much was deleted
	settled int    // … of which the count knows
	count   *count // under way
}

// count is a listing under way.
type count struct {
	done chan struct{} // closed when err is set
	err  error
}

// account is that of a tenant, made if need be.
func (r *Registry) account(t Tenant) *account {
	return r.accounts.getOr(t, func() *account { return new(account) })
}

// Usage is what a tenant has in the store. The first question lists the whole tenant;
// for later ones see countAge.
func (r *Registry) Usage(ctx context.Context, t Tenant) (*Usage, error) {
	a := r.account(t)
	if err := r.recount(ctx, t, a, false); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.counted.plus(a.since)
	return &Usage{Versions: max(0, now.versions), StoredBytes: max(0, now.bytes), CountedAt: a.at.UTC().Truncate(time.Microsecond)}, nil
}

// recount sees to it that the account is not too old; in doubt it has to be younger.
func (r *Registry) recount(ctx context.Context, t Tenant, a *account, inDoubt bool) error {
	a.mu.Lock()
	age := r.since(a.at)
	fresh := max(countAge, countShare*a.took)
	wait := a.at.IsZero() || age > countPatience*fresh
	if inDoubt {
		wait = wait || a.doubts > a.settled || age > max(doubtAge, doubtShare*a.took)
	}
	if (wait || a.doubts > a.settled || age > fresh) && a.count == nil {
		r.beginCount(ctx, t, a)
	}
	c := a.count
	a.mu.Unlock()
	if !wait {
		return nil
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("count what %s has: %w", t, ctx.Err())
	}
}

// beginCount lists the tenant behind whoever asked; all who ask meanwhile share it. a.mu
// is held.
func (r *Registry) beginCount(ctx context.Context, t Tenant, a *account) {
	c := &count{done: make(chan struct{})}
	a.count = c
	began, before, doubts := r.now(), a.since, a.doubts
	ctx = rescope(context.WithoutCancel(ctx), t)
	r.after.begin(func() {
		ctx, cancel := context.WithTimeout(ctx, countTimeout)
		defer cancel()
		defer context.AfterFunc(r.life, cancel)()
		found, err := r.countTenant(ctx, t)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.count = nil
		if c.err = err; err == nil {
			a.counted, a.since = found, a.since.minus(before)
			a.at, a.took, a.settled = began, r.since(began), doubts
		}
		close(c.done)
	})
}

// countTenant lists all models of a tenant. A version counts if it has a record, no
// tombstone, and was not deleted with its model.
func (r *Registry) countTenant(ctx context.Context, t Tenant) (amount, error) {
	var sum amount
	var at recordID // the number whose keys are being listed
	through := map[Model]Number{}
	for after := ""; ; {
		page, err := r.bucket.List(ctx, blob.ListOptions{Prefix: tenantPrefix(t), StartAfter: after})
		if err != nil {
			return amount{}, fmt.Errorf("count what %s has: %w", t, err)
		}
		if err := r.deletedThrough(ctx, t, page.Objects, through); err != nil {
			return amount{}, fmt.Errorf("count what %s has: %w", t, err)
		}
		for _, o := range page.Objects {
			name, _, _ := strings.Cut(o.Key[len(tenantPrefix(t)):], "/")
			if strings.HasPrefix(name, "_") {
				continue // of the tenant itself
			}
			sum.bytes += o.Size
			s := series{t, Model(name)}
			if !strings.HasPrefix(o.Key, s.versionsPrefix()) {
				continue
			}
			switch l := s.locate(o.Key); {
			case l.kind == kindRecord && l.number > through[s.model]:
				at = recordID{s, l.number}
				sum.versions++
			case l.kind == kindTombstone && at == recordID{s, l.number}: // it follows its record
				sum.versions--
			}
		}
		if after = page.Next; after == "" {
			return sum, nil
		}
		if strings.HasPrefix(after, auditPrefix(t)) {
			after = past(tenantPrefix(t), auditName) // it may be long, and counts for nothing
		}
	}
}

// deletedThrough reads from each _model.json among the objects up to which number its
// versions are deleted: it is listed before them. Of a damaged one all versions count.
func (r *Registry) deletedThrough(ctx context.Context, t Tenant, objects []blob.Object, through map[Model]Number) error {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for _, o := range objects {
		name, rest, _ := strings.Cut(o.Key[len(tenantPrefix(t)):], "/")
		s := series{t, Model(name)}
		if rest == "" || o.Key != s.modelKey() {
			continue
		}
		g.Go(func() error {
			body, err := r.readModel(gctx, s)
			if errors.Is(err, ErrCorrupt) {
				return nil // check tells
			}
			if err == nil && body != nil && body.DeletedThrough > 0 {
				mu.Lock()
				defer mu.Unlock()
				through[s.model] = body.DeletedThrough
			}
			return err
		})
	}
	return g.Wait()
}
