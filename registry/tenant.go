package registry

import (
	"context"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"

	"modelbucket/blob"
)

// TenantInfo is a tenant as it is shown. A tenant exists while anything of it lies in
// the bucket: it needs no making before its first publish.
type TenantInfo struct {
	Tenant      Tenant            `json:"tenant"`
	Description string            `json:"description"`
	Tags        map[string]string `json:"tags"`
	Revision    int64             `json:"revision"`
	CreatedAt   *time.Time        `json:"created_at"` // null: never described
}

func tenantInfo(t Tenant, body *tenantBody) *TenantInfo {
	info := &TenantInfo{Tenant: t, Tags: map[string]string{}}
	if body != nil {
		info.Description, info.Revision, info.CreatedAt = body.Description, body.Revision, &body.CreatedAt
		maps.Copy(info.Tags, body.Tags)
	}
	return info
}

// Tenant describes one tenant.
func (r *Registry) Tenant(ctx context.Context, t Tenant) (*TenantInfo, error) {
	body, _, err := readMutable[tenantBody](ctx, r, tenantKey(t))
	if err != nil {
		return nil, err
	}
	if body == nil {
		page, err := r.bucket.List(ctx, blob.ListOptions{Prefix: tenantPrefix(t), Limit: 1})
		if err != nil {
			return nil, fmt.Errorf("look for tenant %s: %w", t, err)
		}
		if len(page.Objects) == 0 {
			return nil, fmt.Errorf("%s: %w", t, ErrTenantNotFound)
		}
	}
	return tenantInfo(t, body), nil
}

// TenantQuery chooses a page of the tenants that MaySee admits (nil: all): those
// behind After in the order of the listing, at most Limit (0: 100).
type TenantQuery struct {
	After  Tenant
	Limit  int
	MaySee func(Tenant) bool
}

// TenantPage is a page of tenants; Next, unless it is empty, is the After of the next.
type TenantPage struct {
	Tenants []*TenantInfo
	Next    Tenant
}

// Tenants lists tenants.
func (r *Registry) Tenants(ctx context.Context, q TenantQuery) (TenantPage, error) {
	limit := pageLimit(q.Limit)
	names, err := r.tenantNames(ctx, q.After, limit+1, q.MaySee)
	if err != nil {
		return TenantPage{}, err
	}
	page := TenantPage{Tenants: []*TenantInfo{}}
	if len(names) > limit {
		names = names[:limit]
		page.Next = names[limit-1]
	}
	infos := make([]*TenantInfo, len(names))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for i, t := range names {
		g.Go(func() error {
			body, _, err := readMutable[tenantBody](gctx, r, tenantKey(t))
			infos[i] = tenantInfo(t, body)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return TenantPage{}, fmt.Errorf("list tenants: %w", err)
	}
	page.Tenants = infos
	return page, nil
}

// tenantNames lists the tenants behind after that maySee admits, at most limit.
func (r *Registry) tenantNames(ctx context.Context, after Tenant, limit int, maySee func(Tenant) bool) ([]Tenant, error) {
	var found []Tenant
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
