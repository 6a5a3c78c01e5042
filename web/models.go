package web

import (
	"net/http"

	"modelbucket/registry"
)

// modelsPage is a page of models. With "include=latest" each also has its latest
// version and its aliases, which takes some calls to the store for each.
type modelsPage struct {
	Models []*registry.ModelInfo `json:"models"`
	Next   string                `json:"next,omitempty"`
}

func (q query) includes(what string) (bool, error) {
	switch q.Get("include") {
	case "":
		return false, nil
	case what:
		return true, nil
	}
	return false, problemf(codeBadRequest, "include is %s; it can be %s", shown(q.Get("include")), what)
}

func (s *Server) listModels(c *call) error {
	q, err := c.query("limit", "after", "include")
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	latest, err := q.includes("latest")
	if err != nil {
		return err
	}
	after, err := optional(q.Get("after"), registry.ParseModel)
	if err != nil {
		return err
	}
	page, err := s.registry.Models(c.r.Context(), c.tenant, registry.ModelQuery{After: after, Limit: limit, Latest: latest})
	if err != nil {
		return err
	}
	answer := modelsPage{Models: page.Models}
	if page.Next != "" {
		answer.Next = c.next(q, "after", string(page.Next))
	}
	return c.json(http.StatusOK, answer)
}

// listAllModels lists the models of all tenants that the caller may see. A page begins
// behind the model "after" of "tenant"; without "after", with all of that tenant.
func (s *Server) listAllModels(c *call) error {
	q, err := c.query("limit", "tenant", "after", "include")
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	latest, err := q.includes("latest")
	if err != nil {
		return err
	}
	tenant, err := optional(q.Get("tenant"), registry.ParseTenant)
	if err != nil {
		return err
	}
	after, err := optional(q.Get("after"), registry.ParseModel)
	if err != nil {
		return err
	}
	page, err := s.registry.AllModels(c.r.Context(), registry.AllModelsQuery{
		Tenant: tenant, After: after, Limit: limit, Latest: latest, Only: c.who.only(), MaySee: s.maySee(c.who, ModelRead),
	})
	if err != nil {
		return err
	}
	answer := modelsPage{Models: page.Models}
	if page.NextTenant != "" {
		answer.Next = c.next(q, "tenant", string(page.NextTenant), "after", string(page.NextModel))
	}
	return c.json(http.StatusOK, answer)
}

func (s *Server) getModel(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	m, err := s.registry.Model(c.r.Context(), c.tenant, c.model)
	if err != nil {
		return err
	}
	return c.tagged(m, wholeTag(m.Revision))
}

func (s *Server) patchModel(c *call) error {
	change, err := c.readChange()
	if err != nil {
		return err
	}
	m, err := s.registry.UpdateModel(c.r.Context(), c.tenant, c.model, change)
	if err != nil {
		return err
	}
	return c.changed(m, wholeTag(m.Revision))
}

// deleteModel deletes the model with all its versions, and answers with what it was.
func (s *Server) deleteModel(c *call) error {
	q, err := c.query("reason")
	if err != nil {
		return err
	}
	m, err := s.registry.DeleteModel(c.r.Context(), c.tenant, c.model, registry.Deletion{By: c.who.Name, Reason: q.Get("reason")})
	if err != nil {
		return err
	}
	s.resolver.Forget(c.tenant, c.model)
	return c.json(http.StatusOK, m)
}
