package client

import (
	"context"
	"iter"
	"time"

	"modelbucket/registry"
)

// CreateKey makes a key of n.Tenant, or one for all tenants, and returns it with its
// token, which is to be had only here. It is sent once: of a request whose answer was
// lost, the key is of use to nobody.
func (c *Client) CreateKey(ctx context.Context, n registry.NewKey) (*registry.Key, registry.Secret, error) {
	r, err := (&request{method: "POST", path: keysPath(n.Tenant)}).withJSON(struct {
		Role      registry.Role `json:"role"`
		Note      string        `json:"note,omitempty"`
		ExpiresAt *time.Time    `json:"expires_at,omitempty"`
	}{n.Role, n.Note, n.ExpiresAt})
	if err != nil {
		return nil, "", err
	}
	var made struct {
		registry.Key
		Token registry.Secret `json:"token"`
	}
	if err := c.fetch(ctx, r, &made); err != nil {
		return nil, "", err
	}
	return &made.Key, made.Token, nil
}

type keysPage struct {
	Keys []*registry.Key `json:"keys"`
	Next string          `json:"next"`
}

// Keys lists the keys of a tenant, or where that is empty those for all tenants; the ones
// that have ended too.
func (c *Client) Keys(ctx context.Context, t registry.Tenant, l List) iter.Seq2[*registry.Key, error] {
	return pages(ctx, c, keysPath(t), l.query(), func(p *keysPage) ([]*registry.Key, string) { return p.Keys, p.Next })
}

// RevokeKey ends a key of a tenant, or where that is empty any key.
func (c *Client) RevokeKey(ctx context.Context, t registry.Tenant, id registry.KeyID) (*registry.Key, error) {
	key := new(registry.Key)
	return key, c.fetch(ctx, &request{method: "DELETE", path: keysPath(t, string(id)), repeatable: true}, key)
}

func keysPath(t registry.Tenant, more ...string) string {
	if t == "" {
		return path(append([]string{"v1", "keys"}, more...)...)
	}
	return tenantPath(t, append([]string{"keys"}, more...)...)
}

// DeleteTenant deletes a tenant that has no models, and revokes its keys; it returns what
// it was.
func (c *Client) DeleteTenant(ctx context.Context, t registry.Tenant) (*registry.TenantInfo, error) {
	info := new(registry.TenantInfo)
	return info, c.fetch(ctx, &request{method: "DELETE", path: tenantPath(t)}, info)
}
