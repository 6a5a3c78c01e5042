package client

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strconv"

	"github.com/google/uuid"

	"modelbucket/registry"
	"modelbucket/registry/signature"
)

// VersionList chooses versions: those below Before (0: all), the deleted ones too
// where Deleted is set.
type VersionList struct {
	List
	Before  registry.Number
	Deleted bool
}

type versionsPage struct {
	Versions []*registry.Version `json:"versions"`
	Next     string              `json:"next"`
}

func (p *versionsPage) items() ([]*registry.Version, string) { return p.Versions, p.Next }

// Versions lists the versions of a model, newest first.
func (c *Client) Versions(ctx context.Context, t registry.Tenant, m registry.Model, l VersionList) iter.Seq2[*registry.Version, error] {
	q := l.query()
	if l.Before > 0 {
		q.Set("before", l.Before.String())
	}
	if l.Deleted {
		q.Set("deleted", "1")
	}
	return pages(ctx, c, modelPath(t, m, "versions"), q, (*versionsPage).items)
}

// Version describes a version.
func (c *Client) Version(ctx context.Context, ref registry.Ref) (*registry.Version, error) {
	v := new(registry.Version)
	return v, c.fetch(ctx, &request{method: "GET", path: refPath(ref), repeatable: true}, v)
}

// UpdateVersion changes description and tags of a version.
func (c *Client) UpdateVersion(ctx context.Context, ref registry.Ref, change registry.Change) (*registry.Version, error) {
	v := new(registry.Version)
	return v, c.change(ctx, "PATCH", refPath(ref), change, v)
}

// DeleteVersion deletes a version. For latest d.IfNumber has to name it.
func (c *Client) DeleteVersion(ctx context.Context, ref registry.Ref, d registry.Deletion) (*registry.Version, error) {
	r := &request{method: "DELETE", path: refPath(ref), query: reasonQuery(d.Reason)}
	if d.IfNumber != 0 {
		r.set("If-Match", strconv.Quote(d.IfNumber.String()))
	}
	v := new(registry.Version)
	return v, c.fetch(ctx, r, v)
}

// Verify has the server read every byte of a version. What is wrong is in the report.
func (c *Client) Verify(ctx context.Context, ref registry.Ref) (*registry.VerifyReport, error) {
	report := new(registry.VerifyReport)
	return report, c.fetch(ctx, &request{method: "POST", path: refPath(ref, "verify"), repeatable: true}, report)
}

// Sign puts a signature of exactly the version's files beside it; registry.SignFiles makes
// one.
func (c *Client) Sign(ctx context.Context, ref registry.Ref, signature []byte) (*registry.Version, error) {
	v := new(registry.Version)
	r := (&request{method: "PUT", path: refPath(ref, "signature"), repeatable: true}).withBytes("application/json", signature)
	return v, c.fetch(ctx, r, v)
}

// Signature reads the signature of a version. Nobody has verified it: registry.VerifyFiles
// does.
func (c *Client) Signature(ctx context.Context, ref registry.Ref) ([]byte, error) {
	answer, err := c.send(ctx, &request{method: "GET", path: refPath(ref, "signature"), repeatable: true})
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, signature.MaxBundle+1)) // one byte more is one too many
	if err != nil {
		return nil, fmt.Errorf("read the signature of %s: %w", ref, err)
	}
	return data, nil
}

// Restore makes a new version of the files of one, which may be deleted; of p Aliases,
// Description, Tags, Label and Key count.
func (c *Client) Restore(ctx context.Context, ref registry.Ref, p Publication) (*registry.Version, error) {
	p.Tenant, p.Model = "", ""
	return c.copy(ctx, refPath(ref, "restore"), p)
}

// Copy makes a new version with the files of ref in the model that p names.
func (c *Client) Copy(ctx context.Context, ref registry.Ref, p Publication) (*registry.Version, error) {
	return c.copy(ctx, refPath(ref, "copy"), p)
}

func (c *Client) copy(ctx context.Context, path string, p Publication) (*registry.Version, error) {
	body := map[string]any{}
	for name, value := range map[string]string{
		"tenant": string(p.Tenant), "model": string(p.Model), "label": string(p.Label), "description": p.Description,
	} {
		if value != "" {
			body[name] = value
		}
	}
	if len(p.Aliases) > 0 {
		body["aliases"] = p.Aliases
	}
	if p.Tags != nil {
		body["tags"] = p.Tags
	}
	r, err := (&request{method: "POST", path: path, repeatable: true}).withJSON(body)
	if err != nil {
		return nil, err
	}
	v := new(registry.Version)
	return v, c.fetch(ctx, r.set("Idempotency-Key", keyOr(p.Key)), v)
}

// keyOr makes an idempotency key where none is given.
func keyOr(key string) string {
	if key == "" {
		key = uuid.NewString()
	}
	return key
}

// Aliases lists the aliases of a model.
func (c *Client) Aliases(ctx context.Context, t registry.Tenant, m registry.Model) ([]*registry.AliasInfo, error) {
	var answer struct {
		Aliases []*registry.AliasInfo `json:"aliases"`
	}
	err := c.fetch(ctx, &request{method: "GET", path: modelPath(t, m, "aliases"), repeatable: true}, &answer)
	return answer.Aliases, err
}

// Alias reads an alias with its history.
func (c *Client) Alias(ctx context.Context, t registry.Tenant, m registry.Model, a registry.Alias) (*registry.AliasInfo, error) {
	info := new(registry.AliasInfo)
	return info, c.fetch(ctx, &request{method: "GET", path: modelPath(t, m, "aliases", string(a)), repeatable: true}, info)
}

// SetAlias moves an alias, on the conditions that the change names.
func (c *Client) SetAlias(ctx context.Context, t registry.Tenant, m registry.Model, a registry.Alias, change registry.AliasChange) (*registry.AliasInfo, error) {
	body := map[string]any{"version": change.To}
	if change.IfVersion != nil {
		body["expect"] = *change.IfVersion
	}
	if change.Note != "" {
		body["note"] = change.Note
	}
	r, err := (&request{method: "PUT", path: modelPath(t, m, "aliases", string(a))}).withJSON(body)
	if err != nil {
		return nil, err
	}
	r.expect(change.IfRevision)
	info := new(registry.AliasInfo)
	return info, c.fetch(ctx, r, info)
}

// DeleteAlias removes an alias, on the conditions that the change names.
func (c *Client) DeleteAlias(ctx context.Context, t registry.Tenant, m registry.Model, a registry.Alias, change registry.AliasChange) (*registry.AliasInfo, error) {
	q := url.Values{}
	if change.IfVersion != nil {
		q.Set("expect", change.IfVersion.String())
	}
	if change.Note != "" {
		q.Set("note", change.Note)
	}
	r := &request{method: "DELETE", path: modelPath(t, m, "aliases", string(a)), query: q}
	r.expect(change.IfRevision)
	info := new(registry.AliasInfo)
	return info, c.fetch(ctx, r, info)
}
