package web

import (
	"net/http"

	"modelbucket/registry"
	"modelbucket/registry/signature"
)

// bundleMedia is the type of a signature; JSON by that name will do as well.
const bundleMedia = "application/vnd.dev.sigstore.bundle.v0.3+json"

// getSignature sends the signature of a version as it is kept. Whether it holds is for
// who asked to find out.
func (s *Server) getSignature(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	v, err := s.registry.Resolve(c.r.Context(), c.ref())
	if err != nil {
		return err
	}
	data, err := s.registry.Bundle(c.r.Context(), v)
	if err != nil {
		return err
	}
	c.names(v)
	c.w.Header().Set("Cache-Control", "private, no-cache")
	c.w.Header().Set("Content-Disposition", `attachment; filename="model.sig"`)
	writeBody(c.w, c.r, http.StatusOK, bundleMedia, data)
	return nil
}

// putSignature signs a version that is there.
func (s *Server) putSignature(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	sent := c.r.Header.Get("Content-Type")
	switch kind, _, err := mediaType(sent); {
	case err != nil:
		return err
	case kind != bundleMedia && kind != "application/json":
		return unsupported(sent, "the signature as "+bundleMedia+" or application/json")
	}
	data, err := readAll(c.body(signature.MaxBundle))
	if err != nil {
		return err
	}
	v, err := s.registry.Sign(c.r.Context(), c.ref(), data)
	if err != nil {
		return err
	}
	s.resolver.Forget(v.Tenant, v.Model)
	c.names(v)
	return c.changed(v, wholeTag(v.Revision))
}

// putTrust says whose signatures a tenant trusts, and what becomes of versions without.
func (s *Server) putTrust(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	expected, err := c.expectation()
	if err != nil {
		return err
	}
	policy := new(registry.SignaturePolicy)
	if err := c.readJSON(policy); err != nil {
		return err
	}
	t, err := s.registry.UpdateTenant(c.r.Context(), c.tenant, registry.Change{Signatures: policy, IfRevision: expected, By: c.who.Name})
	if err != nil {
		return err
	}
	return c.changed(t, revisionTag(t.Revision))
}
