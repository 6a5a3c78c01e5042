package web

import (
	"net/http"
	"net/url"

	"modelbucket/registry"
)

func (s *Server) listVersions(c *call) error {
	q, err := c.query("limit", "before", "deleted")
	if err != nil {
		return err
	}
	var want registry.VersionQuery
	if want.Limit, err = q.limit(); err != nil {
		return err
	}
	if want.Deleted, err = q.flag("deleted"); err != nil {
		return err
	}
	if q.Has("before") {
		if want.Before, err = registry.ParseNumber(q.Get("before")); err != nil {
			return err
		}
	}
	page, err := s.registry.Versions(c.r.Context(), c.tenant, c.model, want)
	if err != nil {
		return err
	}
	answer := struct {
		Versions []*registry.Version `json:"versions"`
		Next     string              `json:"next,omitempty"`
	}{Versions: page.Versions}
	if page.Next != 0 {
		answer.Next = c.next(q, "before", page.Next.String())
	}
	return c.json(http.StatusOK, answer)
}

func (s *Server) getVersion(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	v, err := s.registry.Version(c.r.Context(), c.ref())
	if err != nil {
		return err
	}
	if v.Signature, err = s.registry.Signature(c.r.Context(), v); err != nil {
		return err
	}
	c.names(v)
	return c.tagged(v, wholeTag(v.Revision))
}

func (s *Server) patchVersion(c *call) error {
	change, err := c.readChange()
	if err != nil {
		return err
	}
	v, err := s.registry.UpdateVersion(c.r.Context(), c.ref(), change)
	if err != nil {
		return err
	}
	c.names(v)
	return c.changed(v, wholeTag(v.Revision))
}

// deleteVersion deletes one version. "latest" is another one a moment later, so its
// number has to be named in If-Match; for the others If-Match may name it.
func (s *Server) deleteVersion(c *call) error {
	q, err := c.query("reason")
	if err != nil {
		return err
	}
	d := registry.Deletion{By: c.who.Name, Reason: q.Get("reason")}
	switch match := c.r.Header.Get("If-Match"); {
	case match != "":
		n, err := tagNumber(match)
		if err != nil || n < 1 || n > int64(registry.MaxNumber) {
			return problemf(codeBadRequest, "If-Match is %s", shown(match)).hint(`send the version's number in double quotes, for example If-Match: "7"`)
		}
		d.IfNumber = registry.Number(n)
	case c.version.IsLatest():
		return s.whichLatest(c)
	}
	v, err := s.registry.DeleteVersion(c.r.Context(), c.ref(), d)
	if err != nil {
		return err
	}
	s.resolver.Forget(c.tenant, c.model)
	c.names(v)
	return c.json(http.StatusOK, v)
}

// whichLatest refuses to delete a latest whose number was not named, and names it.
func (s *Server) whichLatest(c *call) error {
	v, err := s.registry.Resolve(c.r.Context(), c.ref())
	if err != nil {
		return err
	}
	return problemf(codePreconditionFailed, "latest of %s/%s is version %d just now, and may be another one in a moment", c.tenant, c.model, v.Version).
		hint(`to delete it, send If-Match: "%d"`, v.Version)
}

func (s *Server) verify(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	if err := c.hold(pieceWeight); err != nil {
		return err
	}
	report, err := s.registry.Verify(c.r.Context(), c.ref())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, report)
}

// copyBody is what a restore or a copy may say of the new version. Where it says
// nothing the new version has what the old one had, but for label and aliases.
type copyBody struct {
	Tenant      registry.Tenant   `json:"tenant"` // copy only; as is Model
	Model       registry.Model    `json:"model"`
	Label       registry.Label    `json:"label"`
	Aliases     []registry.Alias  `json:"aliases"`
	Description string            `json:"description"`
	Tags        map[string]string `json:"tags"`
}

// restore makes a new version of the files of one that may be deleted.
func (s *Server) restore(c *call) error {
	var body copyBody
	if c.hasBody() {
		if err := c.readJSON(&body); err != nil {
			return err
		}
	}
	if body.Tenant != "" || body.Model != "" {
		return problemf(codeBadRequest, "a restore stays in its model").hint("POST to …/copy to put the files elsewhere")
	}
	return s.copyTo(c, registry.Ref{Tenant: c.tenant, Model: c.model}, body)
}

// copyVersion makes a new version with the same files, in this or in another model.
func (s *Server) copyVersion(c *call) error {
	var body copyBody
	if err := c.readJSON(&body); err != nil {
		return err
	}
	to := registry.Ref{Tenant: c.tenant, Model: c.model}
	if body.Tenant != "" {
		to.Tenant = body.Tenant
	}
	if body.Model != "" {
		to.Model = body.Model
	}
	if err := authorise(c.who, VersionCreate, to.Tenant); err != nil {
		return err
	}
	return s.copyTo(c, to, body)
}

func (s *Server) copyTo(c *call, to registry.Ref, body copyBody) error {
	if err := c.mayAlias(to.Tenant, body.Aliases); err != nil {
		return err
	}
	if _, err := c.query(); err != nil {
		return err
	}
	one, err := c.enterFor(to.Tenant, s.works.uploading, 1) // the store's and the node's work is that of an upload
	if err != nil {
		return err
	}
	defer one.leave()
	if err := c.hold(pieceWeight); err != nil {
		return err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	v, err := s.registry.Copy(c.r.Context(), c.ref(), registry.Publication{
		Tenant: to.Tenant, Model: to.Model, Label: body.Label, Key: key, By: c.who.Name,
		Aliases: body.Aliases, Description: body.Description, Tags: body.Tags,
	})
	if err != nil {
		return err
	}
	return s.created(c, v)
}

// names tells in a header which version an answer is about.
func (c *call) names(v *registry.Version) {
	c.w.Header().Set("Modelbucket-Version", v.Version.String())
}

func versionPath(v *registry.Version) string {
	u := url.URL{Path: "/v1/tenants/" + string(v.Tenant) + "/models/" + string(v.Model) + "/versions/" + v.Version.String()}
	return u.EscapedPath()
}
