package registry

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"modelbucket/blob"
)

// KeyQuery chooses a page of a tenant's keys, or where Tenant is empty of those for all
// tenants: the ones behind After, by their ids, at most Limit (0: 100).
type KeyQuery struct {
	Tenant Tenant
	After  KeyID
	Limit  int
}

// KeyPage is a page of keys; Next, unless it is empty, is the After of the next.
type KeyPage struct {
	Keys []*Key
	Next KeyID
}

// Keys lists keys, those that have ended as well, with their last use.
func (r *Registry) Keys(ctx context.Context, q KeyQuery) (KeyPage, error) {
	ctx = unscoped(ctx)
	prefix := keyListPrefix(q.Tenant)
	o := blob.ListOptions{Prefix: prefix, Limit: pageLimit(q.Limit)}
	if q.After != "" {
		o.StartAfter = keyListKey(q.Tenant, q.After)
	}
	listed, err := r.bucket.List(ctx, o)
	if err != nil {
		return KeyPage{}, fmt.Errorf("list %s: %w", prefix, err)
	}
	found := make([]*Key, len(listed.Objects))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for i, entry := range listed.Objects {
		l := locateKey(entry.Key)
		if l.kind != kindKeyEntry {
			continue
		}
		g.Go(func() (err error) { found[i], err = r.listedKey(gctx, q.Tenant, KeyID(l.name)); return err })
	}
	if err := g.Wait(); err != nil {
		return KeyPage{}, fmt.Errorf("list keys: %w", err)
	}
	page := KeyPage{Keys: []*Key{}, Next: KeyID(locateKey(listed.Next).name)}
	for _, k := range found {
		if k != nil {
			page.Keys = append(page.Keys, k)
		}
	}
	return page, nil
}

// listedKey is nil where an entry is not followed by a key of the tenant: who made it
// did not live to, or has not yet.
func (r *Registry) listedKey(ctx context.Context, t Tenant, id KeyID) (*Key, error) {
	k, err := r.Key(ctx, id)
	if errors.Is(err, ErrKeyNotFound) || err == nil && !k.of(t) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var use keyUse
	switch _, err := r.read(ctx, keyUseKey(id), &use); {
	case err == nil:
		k.LastUsedAt = &use.At
	case !isNotFound(err):
		return nil, err
	}
	return k, nil
}

// of tells whether the key is one of the tenant, or for all where that is empty.
func (k *Key) of(t Tenant) bool {
	if k.Tenant == nil {
		return t == ""
	}
	return *k.Tenant == t
}

// revokeKeys ends all keys of a tenant, and tells how many it ended.
func (r *Registry) revokeKeys(ctx context.Context, t Tenant, by string) (n int, err error) {
	q := KeyQuery{Tenant: t, Limit: keysForPage}
	for {
		page, err := r.Keys(ctx, q)
		if err != nil {
			return n, err
		}
		for _, k := range page.Keys {
			if k.RevokedAt != nil {
				continue
			}
			if _, err := r.RevokeKey(ctx, Revocation{ID: k.ID, Tenant: t, By: by}); err != nil {
				return n, err
			}
			n++
		}
		if q.After = page.Next; q.After == "" {
			return n, nil
		}
	}
}
