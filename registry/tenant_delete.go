package registry

import (
	"context"
	"fmt"
)

// DeleteTenant deletes a tenant that has no models. Its keys are revoked first: none of
// them can bring it back, and if this ends halfway, it can be asked for again. What the
// tenant was is the answer. While there is a model it is ErrTenantInUse; a publish that is
// just under way may make the tenant anew.
func (r *Registry) DeleteTenant(ctx context.Context, t Tenant, c Change) (*TenantInfo, error) {
	return audited(ctx, r, AuditRecord{Action: AuditTenantDelete, Tenant: t}, func(made *change) (*TenantInfo, error) {
		return r.deleteTenant(ctx, t, c, made.id())
	})
}

func (r *Registry) deleteTenant(ctx context.Context, t Tenant, c Change, nonce string) (*TenantInfo, error) {
	info, err := r.Tenant(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := c.expects(t, info.Revision); err != nil {
		return nil, err
	}
	if err := r.unused(ctx, t); err != nil {
		return nil, err
	}
	revoked, err := r.revokeKeys(ctx, t, c.By)
	if err != nil {
		return nil, fmt.Errorf("revoke keys of %s: %w", t, outcome(revoked > 0, err))
	}
	_, err = update(ctx, r, tenantKey(t), nonce, func(old *tenantBody) (*tenantBody, error) {
		next, shown := tenantBody{Deleted: true, DeletedAt: r.stamp(), DeletedBy: c.By}, int64(0)
		if old != nil {
			next.revisions = old.revisions
			if !old.Deleted {
				shown = old.Revision
			}
		}
		return &next, c.expects(t, shown)
	})
	if err != nil {
		return nil, fmt.Errorf("delete tenant %s: %w", t, outcome(revoked > 0, err))
	}
	return info, nil
}

// expects holds the revision that the change is for against the one that is there.
func (c Change) expects(t Tenant, revision int64) error {
	if c.IfRevision != nil && *c.IfRevision != revision {
		return fmt.Errorf("%w: %s is at revision %d, expected was %d", ErrPrecondition, t, revision, *c.IfRevision)
	}
	return nil
}

// unused is nil while a tenant has no models.
func (r *Registry) unused(ctx context.Context, t Tenant) error {
	m, err := r.firstModel(ctx, t)
	if err != nil {
		return fmt.Errorf("look for models of %s: %w", t, err)
	}
	if m != "" {
		return fmt.Errorf("%w: %s has models, %s among them", ErrTenantInUse, t, m)
	}
	return nil
}
