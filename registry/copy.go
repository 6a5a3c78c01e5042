package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"modelbucket/blob"
)

// Copy publishes the files of a version once more, verified on the way: a new version
// with its own number and id, here (restore: from may be deleted, while its files are
// still there) or in another model or tenant. Facts, description, tags and
// user_metadata go along where to names none of its own, and the signature, which is one
// of the same files; label and aliases do not.
//
// The caller answers for both tenants: whatever its scope, each is read or written within
// a scope of its own.
func (r *Registry) Copy(ctx context.Context, from Ref, to Publication) (*Version, error) {
	source, target := rescope(ctx, from.Tenant), rescope(ctx, to.Tenant)
	if from.Selector.Label != "" { // for good; latest and aliases are looked up once, by the first request with the key
		n, err := r.number(source, series{from.Tenant, from.Model}, from.Selector)
		if err != nil {
			return nil, err
		}
		from.Selector = Selector{Number: n}
	}
	var err error
	if to.Request, err = json.Marshal([]string{"copy", from.String()}); err != nil {
		return nil, err
	}
	to.from = from.String()
	u, err := r.Begin(target, to)
	if err != nil {
		return nil, err
	}
	defer u.Abort()
	if u.Replayed() {
		return u.Commit(target, Facts{})
	}
	v, err := r.source(source, from)
	if err != nil {
		return nil, err
	}
	if to.Tenant != v.Tenant || to.Model != v.Model {
		if err := r.Admit(source, v); err != nil { // it would be served elsewhere
			return nil, fmt.Errorf("copy: %w", err)
		}
	}
	u.inherit(v)
	if u.signature, err = r.readSignature(source, v); err != nil {
		return nil, err
	}
	if err := u.claim.reach(target, v.Size+int64(len(u.signature))); err != nil {
		return nil, fmt.Errorf("copy %s: %w", v.Ref(), err)
	}
	for _, f := range v.Files {
		if err := r.copyFile(source, target, u, v, f); err != nil {
			return nil, fmt.Errorf("copy %s: %w", v.Ref(), err)
		}
	}
	return u.Commit(target, v.Facts)
}

// source is the version that is to be copied, deleted or not.
func (r *Registry) source(ctx context.Context, from Ref) (*Version, error) {
	s := series{from.Tenant, from.Model}
	n, err := r.number(ctx, s, from.Selector)
	if err != nil {
		return nil, err
	}
	v, err := r.anyState(ctx, s, n)
	if err != nil {
		return nil, err
	}
	return v, r.fillAttributes(ctx, v)
}

// inherit takes from v what the publication does not say. What identifies the request
// stays what was said.
func (u *Upload) inherit(v *Version) {
	u.restoredFrom = v.Ref().String()
	if u.p.Description == "" {
		u.p.Description = v.Description
	}
	if u.p.Tags == nil {
		u.p.Tags = v.Tags
	}
	if u.p.UserMetadata == nil {
		u.p.UserMetadata = v.UserMetadata
	}
}

func (r *Registry) copyFile(source, target context.Context, u *Upload, v *Version, f File) (err error) {
	body, err := r.OpenFile(source, v, f.Name, blob.Range{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	_, err = u.File(target, f.Name, body, f.Size, f.SHA256)
	return err
}
