package web

import (
	"net/http"
	"time"

	"modelbucket/registry"
)

// keyBody is what a new key is to be.
type keyBody struct {
	Role      registry.Role `json:"role"`
	Note      string        `json:"note"`
	ExpiresAt *time.Time    `json:"expires_at"`
}

// createKey makes a key of the tenant in the path, or one for all where there is none.
// Who may make keys at all may give any role: an administrator's is the highest in a
// tenant, and who makes keys for all is an operator himself.
func (s *Server) createKey(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	var body keyBody
	if err := c.readJSON(&body); err != nil {
		return err
	}
	key, token, err := s.registry.CreateKey(c.r.Context(), registry.NewKey{
		Tenant: c.tenant, Role: body.Role, Note: body.Note, ExpiresAt: body.ExpiresAt, By: c.who.Name,
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, struct {
		*registry.Key
		Token string `json:"token"` // here, and never again
	}{key, token.Reveal()})
}

func (s *Server) listKeys(c *call) error {
	q, err := c.query("limit", "after")
	if err != nil {
		return err
	}
	want := registry.KeyQuery{Tenant: c.tenant}
	if want.Limit, err = q.limit(); err != nil {
		return err
	}
	if want.After, err = optional(q.Get("after"), registry.ParseKeyID); err != nil {
		return err
	}
	page, err := s.registry.Keys(c.r.Context(), want)
	if err != nil {
		return err
	}
	answer := struct {
		Keys []*registry.Key `json:"keys"`
		Next string          `json:"next,omitempty"`
	}{Keys: page.Keys}
	if page.Next != "" {
		answer.Next = c.next(q, "after", string(page.Next))
	}
	return c.json(http.StatusOK, answer)
}

// revokeKey ends a key, on this node at once.
func (s *Server) revokeKey(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	key, err := s.registry.RevokeKey(c.r.Context(), registry.Revocation{ID: c.key, Tenant: c.tenant, By: c.who.Name})
	s.keys.forget(c.key, c.tenant) // also after an error: it may have been revoked
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, key)
}
