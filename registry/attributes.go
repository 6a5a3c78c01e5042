package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// Change alters description and tags of a version, model or tenant, and the limits of a
// tenant. Nil fields stay as they are; a nil tag or limit is removed. Without IfRevision it applies to what is there now.
type Change struct {
	Description *string
	Tags        map[string]*string
	Limits      map[LimitName]*Limit // of a tenant only
	IfRevision  *int64
	By          string
	Signatures  *SignaturePolicy // of a tenant only
}

// The limits of what people may write beside a version.
const (
	maxDescription = 64 << 10 // bytes
	maxTags        = 100
	maxTagName     = 256
	maxTagValue    = 8 << 10
)

func (a *attributes) tags() map[string]string {
	tags := maps.Clone(a.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	return tags
}

// apply makes the change on a copy that has its own tags. revision is the one that the
// caller was shown: 0 where nothing had been changed yet.
func (c Change) apply(what fmt.Stringer, a *attributes, revision int64, at time.Time) error {
	if c.IfRevision != nil && *c.IfRevision != revision {
		return fmt.Errorf("%s: %w: it is at revision %d, expected was %d", what, ErrPrecondition, revision, *c.IfRevision)
	}
	tags := a.tags()
	for name, value := range c.Tags {
		if value == nil {
			delete(tags, name)
		} else {
			tags[name] = *value
		}
	}
	if c.Description != nil {
		a.Description = *c.Description
	}
	a.Tags, a.At, a.By = tags, at, c.By
	return checkAttributes(a.Description, a.Tags)
}

// checkAttributes holds description and tags against their limits.
func checkAttributes(description string, tags map[string]string) error {
	if len(description) > maxDescription {
		return fmt.Errorf("%w: the description has %d bytes, it may have %d", ErrTooLarge, len(description), maxDescription)
	}
	if len(tags) > maxTags {
		return fmt.Errorf("%w: %d tags; there may be %d", ErrTooLarge, len(tags), maxTags)
	}
	for name, value := range tags {
		if name == "" || len(name) > maxTagName || len(value) > maxTagValue {
			return fmt.Errorf("%w: a tag has a name of 1 to %d bytes and a value of at most %d", ErrInvalid, maxTagName, maxTagValue)
		}
	}
	return nil
}

// UpdateVersion changes description and tags of a version.
func (r *Registry) UpdateVersion(ctx context.Context, ref Ref, c Change) (*Version, error) {
	what := ref.audit(AuditVersionUpdate)
	return audited(ctx, r, what, func(made *change) (*Version, error) {
		return r.updateVersion(ctx, ref, c, made)
	})
}

func (r *Registry) updateVersion(ctx context.Context, ref Ref, c Change, made *change) (*Version, error) {
	v, err := r.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	made.tell(func(a *AuditRecord) { a.Version = v.Version })
	_, err = update(ctx, r, v.series().attributesKey(v.Version), made.id(), func(old *attributes) (*attributes, error) {
		next := attributes{Description: v.Description, Tags: v.Tags} // as published
		if old != nil {
			next = *old
		}
		return &next, c.apply(v.Ref(), &next, next.Revision, r.stamp())
	})
	if err != nil {
		return nil, fmt.Errorf("update %s: %w", v.Ref(), err)
	}
	ref = v.Ref()
	if v, err = r.Version(ctx, ref); err == nil {
		v.Signature, err = r.Signature(ctx, v)
	}
	if err != nil && !errors.Is(err, ErrVersionDeleted) {
		return nil, unread(err)
	}
	return v, err
}

// UpdateModel changes description and tags of a model.
func (r *Registry) UpdateModel(ctx context.Context, t Tenant, m Model, c Change) (*ModelInfo, error) {
	what := AuditRecord{Action: AuditModelUpdate, Tenant: t, Model: m}
	return audited(ctx, r, what, func(made *change) (*ModelInfo, error) {
		return r.updateModel(ctx, t, m, c, made.id())
	})
}

func (r *Registry) updateModel(ctx context.Context, t Tenant, m Model, c Change, nonce string) (*ModelInfo, error) {
	s := series{t, m}
	if _, err := r.Model(ctx, t, m); err != nil {
		return nil, err
	}
	_, err := update(ctx, r, s.modelKey(), nonce, func(old *modelBody) (*modelBody, error) {
		if old == nil {
			return nil, fmt.Errorf("%s: %w", s, ErrModelNotFound)
		}
		next := *old
		return &next, c.apply(s, &next.attributes, next.Revision, r.stamp())
	})
	if err != nil {
		return nil, fmt.Errorf("update %s: %w", s, err)
	}
	info, err := r.Model(ctx, t, m)
	if err != nil && !errors.Is(err, ErrModelNotFound) {
		return nil, unread(err)
	}
	return info, err
}

// UpdateTenant changes description, tags, limits and signature policy of a tenant, and makes it if there is
// nothing of it yet, or nothing any more. On this node its limits count at once, on others
// within limitsAge.
func (r *Registry) UpdateTenant(ctx context.Context, t Tenant, c Change) (*TenantInfo, error) {
	return audited(ctx, r, AuditRecord{Action: AuditTenantUpdate, Tenant: t}, func(made *change) (*TenantInfo, error) {
		return r.updateTenant(ctx, t, c, made.id())
	})
}

func (r *Registry) updateTenant(ctx context.Context, t Tenant, c Change, nonce string) (*TenantInfo, error) {
	if err := r.admissible(c.Signatures); err != nil {
		return nil, fmt.Errorf("update tenant %s: %w", t, err)
	}
	at := r.now()
	body, err := update(ctx, r, tenantKey(t), nonce, func(old *tenantBody) (_ *tenantBody, err error) {
		next, shown := tenantBody{CreatedAt: r.stamp()}, int64(0)
		switch {
		case old != nil && old.Deleted:
			next.revisions = old.revisions // goes on counting
		case old != nil:
			next, shown = *old, old.Revision
		}
		if c.Signatures != nil {
			next.Signatures = c.Signatures
		}
		if next.Limits, err = next.Limits.changed(c.Limits); err != nil {
			return nil, err
		}
		return &next, c.apply(tenantName(t), &next.attributes, shown, r.stamp())
	})
	if err != nil {
		return nil, fmt.Errorf("update tenant %s: %w", t, err)
	}
	r.learn(t, body, at)
	return tenantInfo(t, body), nil
}

type tenantName Tenant

func (t tenantName) String() string { return "tenant " + string(t) }
