package web

import (
	"context"
	"net/http"
	"time"

	"modelbucket/registry"
)

// changeBody is what a PATCH of a version or model may hold.
// What it leaves out stays as it is; a tag that is null is removed.
type changeBody struct {
	Description *string            `json:"description"`
	Tags        map[string]*string `json:"tags"`
}

// tenantChange is what a PUT of a tenant may hold. A limit that is null is removed.
type tenantChange struct {
	Description *string                                `json:"description"`
	Tags        map[string]*string                     `json:"tags"`
	Limits      map[registry.LimitName]*registry.Limit `json:"limits"`
	Signatures  *registry.SignaturePolicy              `json:"signatures"`
}

func (c *call) readChange() (registry.Change, error) {
	var body changeBody
	change, err := c.readInto(&body)
	change.Description, change.Tags = body.Description, body.Tags
	return change, err
}

// readInto reads the body of a change, and returns what stands beside it.
func (c *call) readInto(body any) (registry.Change, error) {
	if _, err := c.query(); err != nil {
		return registry.Change{}, err
	}
	expected, err := c.expectation()
	if err != nil {
		return registry.Change{}, err
	}
	return registry.Change{IfRevision: expected, By: c.who.Name}, c.readJSON(body)
}

func (s *Server) maySee(who Principal, permission Permission) func(registry.Tenant) bool {
	return func(t registry.Tenant) bool { return who.May(permission, t) }
}

func (s *Server) listTenants(c *call) error {
	q, err := c.query("limit", "after")
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	after, err := optional(q.Get("after"), registry.ParseTenant)
	if err != nil {
		return err
	}
	page, err := s.registry.Tenants(c.r.Context(), registry.TenantQuery{After: after, Limit: limit, Only: c.who.only(), MaySee: s.maySee(c.who, TenantList)})
	if err != nil {
		return err
	}
	for i, t := range page.Tenants {
		if !c.who.May(TenantRead, t.Tenant) { // the name alone
			page.Tenants[i] = &registry.TenantInfo{Tenant: t.Tenant, Tags: map[string]string{}}
		}
	}
	answer := struct {
		Tenants []*registry.TenantInfo `json:"tenants"`
		Next    string                 `json:"next,omitempty"`
	}{Tenants: page.Tenants}
	if page.Next != "" {
		answer.Next = c.next(q, "after", string(page.Next))
	}
	return c.json(http.StatusOK, answer)
}

func (s *Server) getTenant(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	t, err := s.registry.Tenant(c.r.Context(), c.tenant)
	if err != nil {
		return err
	}
	if err := s.fillTenant(c, t); err != nil {
		return err
	}
	return c.tagged(t, wholeTag(t.Revision))
}

func (s *Server) putTenant(c *call) error {
	var body tenantChange
	change, err := c.readInto(&body)
	if err != nil {
		return err
	}
	change.Description, change.Tags, change.Limits, change.Signatures = body.Description, body.Tags, body.Limits, body.Signatures
	if change.Signatures != nil {
		if err := authorise(c.who, TrustWrite, c.tenant); err != nil {
			return err
		}
	}
	t, err := s.registry.UpdateTenant(c.r.Context(), c.tenant, change)
	if err != nil {
		return err
	}
	return c.changed(t, wholeTag(t.Revision))
}

// countPatience is how long an answer waits for a tenant to be counted. Of one that is so
// large that this takes longer, the usage is told when it is known.
const countPatience = 3 * time.Second

// fillTenant adds what the tenant may do here, and what it has.
func (s *Server) fillTenant(c *call, t *registry.TenantInfo) error {
	var err error
	if t.InForce, err = s.registry.Limits(c.r.Context(), t.Tenant); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), countPatience)
	defer cancel()
	switch t.Usage, err = s.registry.Usage(ctx, t.Tenant); {
	case err == nil:
		t.Usage.Uploads, t.Usage.CachedBytes = s.works.uploading.Held(t.Tenant), s.pool.Held(t.Tenant)
	case ctx.Err() != nil && c.r.Context().Err() == nil:
		err = nil
	}
	return err
}

// deleteTenant deletes a tenant that has no models, and answers with what it was.
func (s *Server) deleteTenant(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	change := registry.Change{By: c.who.Name}
	var err error
	if change.IfRevision, err = c.expectation(); err != nil {
		return err
	}
	t, err := s.registry.DeleteTenant(c.r.Context(), c.tenant, change)
	if err != nil {
		return err
	}
	s.keys.forgetAll()
	return c.json(http.StatusOK, t)
}

// optional parses a value that may be left out.
func optional[T ~string](s string, parse func(string) (T, error)) (T, error) {
	if s == "" {
		return "", nil
	}
	return parse(s)
}
