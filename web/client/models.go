package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"

	"modelbucket/registry"
)

// pages follows a list from page to page. Each page is asked for when the one before
// is used up.
func pages[P any, T any](ctx context.Context, c *Client, path string, query url.Values, items func(*P) ([]T, string)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for {
			var page P
			if err := c.fetch(ctx, &request{method: "GET", path: path, query: query, repeatable: true}, &page); err != nil {
				yield(none, err)
				return
			}
			list, next := items(&page)
			for _, item := range list {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			u, err := url.Parse(next)
			if err != nil {
				yield(none, err)
				return
			}
			query = u.Query()
		}
	}
}

// List bounds a page of a list, in entries (0: the server's default); lists themselves
// go on to their end.
type List struct{ PageSize int }

func (l List) query() url.Values {
	q := url.Values{}
	if l.PageSize > 0 {
		q.Set("limit", strconv.Itoa(l.PageSize))
	}
	return q
}

type tenantsPage struct {
	Tenants []*registry.TenantInfo `json:"tenants"`
	Next    string                 `json:"next"`
}

// Tenants lists the tenants that the caller may see.
func (c *Client) Tenants(ctx context.Context, l List) iter.Seq2[*registry.TenantInfo, error] {
	return pages(ctx, c, "/v1/tenants", l.query(), func(p *tenantsPage) ([]*registry.TenantInfo, string) { return p.Tenants, p.Next })
}

// Tenant describes a tenant.
func (c *Client) Tenant(ctx context.Context, t registry.Tenant) (*registry.TenantInfo, error) {
	info := new(registry.TenantInfo)
	return info, c.fetch(ctx, &request{method: "GET", path: tenantPath(t), repeatable: true}, info)
}

// SetSignatures says whose signatures a tenant trusts, for who may change no more of it. A
// revision (nil: any) is the condition.
func (c *Client) SetSignatures(ctx context.Context, t registry.Tenant, policy registry.SignaturePolicy, revision *int64) (*registry.TenantInfo, error) {
	r, err := (&request{method: "PUT", path: tenantPath(t, "signatures")}).withJSON(policy)
	if err != nil {
		return nil, err
	}
	r.expect(revision)
	info := new(registry.TenantInfo)
	return info, c.fetch(ctx, r, info)
}

// UpdateTenant changes a tenant, its limits included, and makes it if there is none. By is ignored
// here and below: the server knows who calls.
func (c *Client) UpdateTenant(ctx context.Context, t registry.Tenant, change registry.Change) (*registry.TenantInfo, error) {
	info := new(registry.TenantInfo)
	return info, c.change(ctx, "PUT", tenantPath(t), change, info)
}

// ModelList chooses models. Latest asks for latest and aliases of each, too.
type ModelList struct {
	List
	Latest bool
}

func (l ModelList) query() url.Values {
	q := l.List.query()
	if l.Latest {
		q.Set("include", "latest")
	}
	return q
}

type modelsPage struct {
	Models []*registry.ModelInfo `json:"models"`
	Next   string                `json:"next"`
}

func (p *modelsPage) items() ([]*registry.ModelInfo, string) { return p.Models, p.Next }

// Models lists the models of a tenant.
func (c *Client) Models(ctx context.Context, t registry.Tenant, l ModelList) iter.Seq2[*registry.ModelInfo, error] {
	return pages(ctx, c, tenantPath(t, "models"), l.query(), (*modelsPage).items)
}

// AllModels lists the models of all tenants that the caller may see.
func (c *Client) AllModels(ctx context.Context, l ModelList) iter.Seq2[*registry.ModelInfo, error] {
	return pages(ctx, c, "/v1/models", l.query(), (*modelsPage).items)
}

// Model describes a model with its latest version and its aliases.
func (c *Client) Model(ctx context.Context, t registry.Tenant, m registry.Model) (*registry.ModelInfo, error) {
	info := new(registry.ModelInfo)
	return info, c.fetch(ctx, &request{method: "GET", path: modelPath(t, m), repeatable: true}, info)
}

// UpdateModel changes description and tags of a model.
func (c *Client) UpdateModel(ctx context.Context, t registry.Tenant, m registry.Model, change registry.Change) (*registry.ModelInfo, error) {
	info := new(registry.ModelInfo)
	return info, c.change(ctx, "PATCH", modelPath(t, m), change, info)
}

// DeleteModel deletes a model with all its versions; it returns what it was.
func (c *Client) DeleteModel(ctx context.Context, t registry.Tenant, m registry.Model, reason string) (*registry.ModelInfo, error) {
	info := new(registry.ModelInfo)
	return info, c.fetch(ctx, &request{method: "DELETE", path: modelPath(t, m), query: reasonQuery(reason)}, info)
}

func reasonQuery(reason string) url.Values {
	if reason == "" {
		return nil
	}
	return url.Values{"reason": {reason}}
}

// change sends a registry.Change.
func (c *Client) change(ctx context.Context, method, path string, change registry.Change, into any) error {
	body := map[string]any{}
	if change.Description != nil {
		body["description"] = *change.Description
	}
	if change.Tags != nil {
		body["tags"] = change.Tags
	}
	if change.Limits != nil {
		body["limits"] = change.Limits
	}
	if change.Signatures != nil {
		body["signatures"] = change.Signatures
	}
	r, err := (&request{method: method, path: path}).withJSON(body)
	if err != nil {
		return err
	}
	r.expect(change.IfRevision)
	return c.fetch(ctx, r, into)
}

// expect makes a revision (nil: any, 0: none yet) the condition of a change.
func (r *request) expect(revision *int64) {
	switch {
	case revision == nil:
	case *revision == 0:
		r.set("If-None-Match", "*")
	default:
		r.set("If-Match", `"`+strconv.FormatInt(*revision, 10)+`"`)
	}
}
