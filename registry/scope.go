package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"modelbucket/blob"
)

// ErrOutOfScope: on behalf of one tenant an object was asked for that is not below it. It
// is a mistake of this program, and what it would have shown or changed was not.
var ErrOutOfScope = errors.New("out of scope")

type scopeKey struct{}

// scope is what a context is confined to; the zero value leaves it free.
type scope struct {
	tenant   Tenant
	confined bool
}

// WithScope confines a context to a tenant: whatever a registry does with it touches
// objects below the tenant alone. A scope within that of another tenant has room for
// nothing, so that none can be left again.
func WithScope(ctx context.Context, t Tenant) context.Context {
	if outer := scopeOf(ctx); outer.confined {
		if outer.tenant == t {
			return ctx
		}
		t = "" // no key begins with "/"
	}
	return rescope(ctx, t)
}

// rescope confines a context to a tenant whatever it was confined to before: for what is
// the registry's own to know, or was allowed for both tenants.
func rescope(ctx context.Context, t Tenant) context.Context {
	return context.WithValue(ctx, scopeKey{}, scope{t, true})
}

// unscoped is for the few objects of the system's that a tenant's requests need.
func unscoped(ctx context.Context) context.Context {
	return context.WithValue(ctx, scopeKey{}, scope{})
}

func scopeOf(ctx context.Context) scope {
	s, _ := ctx.Value(scopeKey{}).(scope)
	return s
}

func (s scope) admit(key string) error {
	if !s.confined || strings.HasPrefix(key, tenantPrefix(s.tenant)) {
		return nil
	}
	return fmt.Errorf("%w: %s is not below %s", ErrOutOfScope, key, s.tenant)
}

// scoped stands directly below a registry and keeps each context within its scope. A
// check that was forgotten further up fails here instead of showing what is another's.
type scoped struct {
	bucket blob.Bucket
	log    *slog.Logger
}

func (b *scoped) String() string { return b.bucket.String() }

func (b *scoped) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Object, error) {
	if err := scopeOf(ctx).admit(key); err != nil {
		return nil, blob.Object{}, err
	}
	return b.bucket.Get(ctx, key, r)
}

func (b *scoped) Stat(ctx context.Context, key string) (blob.Object, error) {
	if err := scopeOf(ctx).admit(key); err != nil {
		return blob.Object{}, err
	}
	return b.bucket.Stat(ctx, key)
}

func (b *scoped) Put(ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
	if err := scopeOf(ctx).admit(key); err != nil {
		return blob.Object{}, err
	}
	return b.bucket.Put(ctx, key, body, o)
}

func (b *scoped) Delete(ctx context.Context, key string) error {
	if err := scopeOf(ctx).admit(key); err != nil {
		return err
	}
	return b.bucket.Delete(ctx, key)
}

func (b *scoped) AbortUploads(ctx context.Context, key string) error {
	if err := scopeOf(ctx).admit(key); err != nil {
		return err
	}
	return b.bucket.AbortUploads(ctx, key)
}

// List takes the store at its word no further than its question went: of an answer, what
// lies elsewhere is left out and reported. One that would go on elsewhere is void.
func (b *scoped) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	s := scopeOf(ctx)
	if err := s.admit(o.Prefix); err != nil {
		return blob.Page{}, err
	}
	page, err := b.bucket.List(ctx, o)
	if err != nil || !s.confined {
		return page, err
	}
	stray := func(key string) bool {
		if strings.HasPrefix(key, o.Prefix) {
			return false
		}
		b.log.Error("the store lists what lies elsewhere", "asked", o.Prefix, "listed", key)
		return true
	}
	// New slices: an answer is the store's own.
	kept := blob.Page{Next: page.Next}
	for _, object := range page.Objects {
		if !stray(object.Key) {
			kept.Objects = append(kept.Objects, object)
		}
	}
	for _, prefix := range page.Prefixes {
		if !stray(prefix) {
			kept.Prefixes = append(kept.Prefixes, prefix)
		}
	}
	if page.Next != "" && stray(page.Next) {
		return blob.Page{}, fmt.Errorf("%w: its listing of %s goes on elsewhere", blob.ErrUnavailable, o.Prefix)
	}
	return kept, nil
}
