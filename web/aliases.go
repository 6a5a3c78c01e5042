package web

import (
	"net/http"

	"modelbucket/registry"
)

func (s *Server) listAliases(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	aliases, err := s.registry.Aliases(c.r.Context(), c.tenant, c.model)
	if err != nil {
		return err
	}
	if len(aliases) == 0 { // it may be the model that is not there
		if _, err := s.registry.Model(c.r.Context(), c.tenant, c.model); err != nil {
			return err
		}
	}
	return c.json(http.StatusOK, struct {
		Aliases []*registry.AliasInfo `json:"aliases"`
	}{aliases})
}

func (s *Server) getAlias(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	a, err := s.registry.Alias(c.r.Context(), c.tenant, c.model, c.alias)
	if err != nil {
		return err
	}
	return c.tagged(a, revisionTag(a.Revision))
}

// aliasBody says where an alias goes. Expect, where it is given, is the version that it
// must be at (0: it must not be set): a promise by number, as If-Match is one by revision.
type aliasBody struct {
	Version *registry.Number `json:"version"`
	Expect  *registry.Number `json:"expect"`
	Note    string           `json:"note"`
}

func (s *Server) putAlias(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	revision, err := c.expectation()
	if err != nil {
		return err
	}
	var body aliasBody
	if err := c.readJSON(&body); err != nil {
		return err
	}
	if body.Version == nil || *body.Version < 1 || *body.Version > registry.MaxNumber {
		return problemf(codeBadRequest, "the body names no version").hint(`send the number of a version, for example {"version":7}`)
	}
	a, err := s.registry.SetAlias(c.r.Context(), c.tenant, c.model, c.alias, registry.AliasChange{
		To: *body.Version, IfRevision: revision, IfVersion: body.Expect, By: c.who.Name, Note: body.Note,
	})
	if err != nil {
		return err
	}
	s.resolver.Forget(c.tenant, c.model)
	return c.changed(a, revisionTag(a.Revision))
}

// deleteAlias removes an alias; "?expect=6" is the version that it must be at.
func (s *Server) deleteAlias(c *call) error {
	q, err := c.query("expect", "note")
	if err != nil {
		return err
	}
	change := registry.AliasChange{By: c.who.Name, Note: q.Get("note")}
	if change.IfRevision, err = c.expectation(); err != nil {
		return err
	}
	if q.Has("expect") {
		n, err := registry.ParseNumber(q.Get("expect"))
		if err != nil {
			return err
		}
		change.IfVersion = &n
	}
	a, err := s.registry.DeleteAlias(c.r.Context(), c.tenant, c.model, c.alias, change)
	if err != nil {
		return err
	}
	s.resolver.Forget(c.tenant, c.model)
	return c.json(http.StatusOK, a)
}
