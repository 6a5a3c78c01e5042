package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"time"

	"modelbucket/detector"
	"modelbucket/registry"
)

// The routes of SecureNet's Python API, for code that calls them today: the tenant is a
// query parameter or a field, "version" is a version's label if it has one and else its
// number, and errors have FastAPI's shape.

// secureModel is the model that SecureNet's training saves to.
const secureModel registry.Model = "isolation_forest_anomaly_detector"

// secureEntry is a version in SecureNet's list of models.
type secureEntry struct {
	ModelName  registry.Model  `json:"model_name"`
	TenantID   registry.Tenant `json:"tenant_id"`
	Version    string          `json:"version"`
	CreatedAt  time.Time       `json:"created_at"`
	ModelType  *string         `json:"model_type"`
	FileSizeMB float64         `json:"file_size_mb"`
	FilePath   string          `json:"filepath"`
}

// secureInfo is all that SecureNet tells of a version.
type secureInfo struct {
	secureEntry
	FileSizeBytes int64           `json:"file_size_bytes"`
	LastModified  time.Time       `json:"last_modified"`
	ModelModule   *string         `json:"model_module"`
	FileHash      string          `json:"file_hash"`
	JoblibVersion *string         `json:"joblib_version"`
	ModelParams   json.RawMessage `json:"model_params"`
	UserMetadata  json.RawMessage `json:"user_metadata"`
}

func secureVersion(v *registry.Version) string {
	if v.Label != nil {
		return string(*v.Label)
	}
	return v.Version.String()
}

// secureFile is the one file that SecureNet knows of a version: where there are several,
// the one with the forest.
func secureFile(v *registry.Version) registry.File {
	if record, err := detector.ParseRecord(v.Facts.Detector); err == nil && len(record.Files) > 0 {
		if f, ok := v.File(record.Files[0]); ok {
			return f
		}
	}
	return v.Files[0]
}

func securePath(v *registry.Version, f registry.File) string {
	return string(v.Tenant) + "/" + string(v.Model) + "/" + string(v.ID) + "/" + string(f.Name)
}

func secureEntryOf(v *registry.Version) secureEntry {
	f := secureFile(v)
	return secureEntry{
		ModelName: v.Model, TenantID: v.Tenant, Version: secureVersion(v), CreatedAt: v.CreatedAt, ModelType: v.ModelType,
		FileSizeMB: math.Round(float64(f.Size)/1024/1024*100) / 100, FilePath: securePath(v, f),
	}
}

// secureTarget is the version that a request is about.
type secureTarget struct {
	TenantID *registry.Tenant `json:"tenant_id"`
	Version  *string          `json:"version"`
}

// target reads tenant_id and version from the query, or those of them that are known.
func (c *call) target(known ...string) (t secureTarget, err error) {
	q, err := c.query(known...)
	if err != nil {
		return t, err
	}
	if text := q.Get("tenant_id"); text != "" {
		tenant, err := registry.ParseTenant(text)
		if err != nil {
			return t, err
		}
		t.TenantID = &tenant
	}
	if text := q.Get("version"); text != "" {
		t.Version = &text
	}
	return t, nil
}

// aimByQuery makes the tenant that the query names that of the call, so that the caller is
// let in to it, or is not, before any body is read. A body may name another one.
func (c *call) aimByQuery() (err error) {
	if text := c.r.URL.Query().Get("tenant_id"); text != "" {
		c.tenant, err = registry.ParseTenant(text)
		c.w.tenant = c.tenant
	}
	return err
}

// aim makes the target that of the call, and lets the caller in to its tenant.
func (c *call) aim(t secureTarget, permission Permission) (err error) {
	c.tenant = c.home()
	if t.TenantID != nil {
		c.tenant = *t.TenantID
	}
	c.w.tenant = c.tenant
	if t.Version != nil {
		if c.version, err = registry.ParseSelector(*t.Version); err != nil {
			return err
		}
	}
	if err := authorise(c.who, permission, c.tenant); err != nil {
		return err
	}
	c.confine(c.tenant)
	return nil
}

// home is the tenant of who names none: his own, where he has only one.
func (c *call) home() registry.Tenant { return cmp.Or(c.who.only(), registry.DefaultTenant) }

// secureList lists every version of every model, newest first: of one tenant, or of
// all that the caller may see.
func (s *Server) secureList(c *call) error {
	t, err := c.target("tenant_id")
	if err != nil {
		return err
	}
	entries := []secureEntry{}
	add := func(ctx context.Context, m *registry.ModelInfo) (err error) {
		entries, err = s.appendVersions(ctx, entries, m)
		return err
	}
	if t.TenantID != nil {
		if err := c.aim(t, ModelRead); err != nil {
			return err
		}
		err = s.eachModel(c.r.Context(), c.tenant, add)
	} else {
		err = s.eachModelOfAll(c, add)
	}
	if err != nil {
		return err
	}
	slices.SortStableFunc(entries, func(a, b secureEntry) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return c.json(http.StatusOK, entries)
}

// eachModel calls f with the models of a tenant; one that is not there has none.
func (s *Server) eachModel(ctx context.Context, t registry.Tenant, f func(context.Context, *registry.ModelInfo) error) error {
	ctx = registry.WithScope(ctx, t)
	query := registry.ModelQuery{Limit: maxLimit}
	for {
		page, err := s.registry.Models(ctx, t, query)
		if errors.Is(err, registry.ErrTenantNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, m := range page.Models {
			if err := f(ctx, m); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		query.After = page.Next
	}
}

func (s *Server) eachModelOfAll(c *call, f func(context.Context, *registry.ModelInfo) error) error {
	ctx := c.r.Context()
	query := registry.TenantQuery{Limit: maxLimit, Only: c.who.only(), MaySee: s.maySee(c.who, ModelRead)}
	for {
		page, err := s.registry.Tenants(ctx, query)
		if err != nil {
			return err
		}
		for _, t := range page.Tenants {
			if err := s.eachModel(ctx, t.Tenant, f); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		query.After = page.Next
	}
}

func (s *Server) appendVersions(ctx context.Context, entries []secureEntry, m *registry.ModelInfo) ([]secureEntry, error) {
	query := registry.VersionQuery{Limit: maxLimit}
	for {
		page, err := s.registry.Versions(ctx, m.Tenant, m.Model, query)
		if err != nil {
			return nil, err
		}
		for _, v := range page.Versions {
			entries = append(entries, secureEntryOf(v))
		}
		if page.Next == 0 {
			return entries, nil
		}
		query.Before = page.Next
	}
}

func (s *Server) secureShow(c *call) error {
	t, err := c.target("tenant_id", "version")
	if err != nil {
		return err
	}
	if err := c.aim(t, ModelRead); err != nil {
		return err
	}
	v, err := s.registry.Version(c.r.Context(), c.ref())
	if err != nil {
		return err
	}
	c.names(v)
	f := secureFile(v)
	return c.json(http.StatusOK, secureInfo{
		secureEntry: secureEntryOf(v), FileSizeBytes: f.Size, LastModified: v.CreatedAt, ModelModule: v.ModelModule,
		FileHash: f.SHA256, JoblibVersion: v.JoblibVersion, ModelParams: v.ModelParams, UserMetadata: v.UserMetadata,
	})
}
