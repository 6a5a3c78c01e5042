package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// TenantInfo is a tenant as it is shown. A tenant exists while it is described or any
// model of it lies in the bucket: it needs no making before its first publish.
type TenantInfo struct {
	Tenant      Tenant            `json:"tenant"`
	Description string            `json:"description"`
	Tags        map[string]string `json:"tags"`
	Revision    int64             `json:"revision"`
	CreatedAt   *time.Time        `json:"created_at"` // null: never described
	Limits      Limits            `json:"limits"`     // its own; the node's count for the rest
	// InForce and Usage are told by a node that is asked for the one tenant.
	InForce    Limits           `json:"limits_in_force,omitempty"`
	Usage      *Usage           `json:"usage,omitempty"`
	Signatures *SignaturePolicy `json:"signatures,omitempty"`
}

func tenantInfo(t Tenant, body *tenantBody) *TenantInfo {
	info := &TenantInfo{Tenant: t, Tags: map[string]string{}, Limits: Limits{}}
	if body != nil && !body.Deleted {
		info.Description, info.Revision, info.CreatedAt = body.Description, body.Revision, &body.CreatedAt
		info.Signatures = body.Signatures
		maps.Copy(info.Tags, body.Tags)
		maps.Copy(info.Limits, body.Limits)
	}
	return info
}

// Tenant describes one tenant.
func (r *Registry) Tenant(ctx context.Context, t Tenant) (*TenantInfo, error) {
	body, _, err := readMutable[tenantBody](ctx, r, tenantKey(t))
	if err != nil {
		return nil, err
	}
	there := body != nil && !body.Deleted
	switch {
	case there:
	case body != nil:
		var m Model
		m, err = r.firstModel(ctx, t)
		there = m != ""
	default: // any model, deleted ones too
		var names []Model
		names, _, err = r.modelNames(ctx, t, "", 1)
		there = len(names) > 0
	}
	if err != nil {
		return nil, fmt.Errorf("look for tenant %s: %w", t, err)
	}
	if !there {
		return nil, fmt.Errorf("%s: %w", t, ErrTenantNotFound)
	}
	return tenantInfo(t, body), nil
}

// TenantQuery chooses a page of the tenants that MaySee admits (nil: all): those behind
// After in the order of the listing, at most Limit (0: 100) and about pageBytes. Only,
// unless it is empty, is the one tenant that counts: then no other is looked at.
type TenantQuery struct {
	After  Tenant
	Limit  int
	Only   Tenant
	MaySee func(Tenant) bool
}

// TenantPage is a page of tenants; Next, unless it is empty, is the After of the next. One
// that was deleted while it was listed makes the page shorter.
type TenantPage struct {
	Tenants []*TenantInfo
	Next    Tenant
}

// Tenants lists tenants.
func (r *Registry) Tenants(ctx context.Context, q TenantQuery) (TenantPage, error) {
	limit := pageLimit(q.Limit)
	names, err := r.tenantNames(ctx, q.After, limit+1, q.Only, q.MaySee)
	if err != nil {
		return TenantPage{}, err
	}
	chosen := names[:min(len(names), limit)]
	var page TenantPage
	var done int
	page.Tenants, done, err = gather(ctx, new(pageMeter), len(chosen), func(ctx context.Context, i int) (*TenantInfo, error) {
		info, err := r.Tenant(ctx, chosen[i])
		if errors.Is(err, ErrTenantNotFound) {
			return nil, nil
		}
		return info, err
	})
	if err != nil {
		return TenantPage{}, fmt.Errorf("list tenants: %w", err)
	}
	if done < len(names) {
		page.Next = names[done-1]
	}
	return page, nil
}

// tenantNames lists the tenants behind after that maySee admits, at most limit: the
// folders of the bucket, or only the one where that is not empty.
func (r *Registry) tenantNames(ctx context.Context, after Tenant, limit int, only Tenant, maySee func(Tenant) bool) ([]Tenant, error) {
	var found []Tenant
	if only != "" {
		if only > after && (maySee == nil || maySee(only)) {
			found = append(found, only)
		}
		return found, nil
	}
	for from := string(after); ; {
		names, complete, err := r.folders(ctx, "", from, limit+1)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			from = name
			t, err := ParseTenant(name)
			if err != nil || maySee != nil && !maySee(t) {
				continue // the system's own folder, or another tenant's
			}
			if found = append(found, t); len(found) == limit {
				return found, nil
			}
		}
		if complete {
			return found, nil
		}
	}
}
