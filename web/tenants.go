package web

import (
	"net/http"

	"modelbucket/registry"
)

// changeBody is what a PATCH of a version or model, and a PUT of a tenant, may hold.
// What it leaves out stays as it is; a tag that is null is removed.
type changeBody struct {
	Description *string            `json:"description"`
	Tags        map[string]*string `json:"tags"`
}

func (c *call) readChange() (registry.Change, error) {
	var body changeBody
	if _, err := c.query(); err != nil {
		return registry.Change{}, err
	}
	expected, err := c.expectation()
	if err != nil {
		return registry.Change{}, err
	}
	if err := c.readJSON(&body); err != nil {
		return registry.Change{}, err
	}
	return registry.Change{Description: body.Description, Tags: body.Tags, IfRevision: expected, By: c.who.Name}, nil
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
	return c.tagged(t, revisionTag(t.Revision))
}

func (s *Server) putTenant(c *call) error {
	change, err := c.readChange()
	if err != nil {
		return err
	}
	t, err := s.registry.UpdateTenant(c.r.Context(), c.tenant, change)
	if err != nil {
		return err
	}
	return c.changed(t, revisionTag(t.Revision))
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
