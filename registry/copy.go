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
// user_metadata go along where to names none of its own; label and aliases do not.
func (r *Registry) Copy(ctx context.Context, from Ref, to Publication) (*Version, error) {
	s := series{from.Tenant, from.Model}
	n, err := r.number(ctx, s, from.Selector)
	if err != nil {
		return nil, err
	}
	v, err := r.anyState(ctx, s, n)
	if err != nil {
		return nil, err
	}
	if err := r.fillAttributes(ctx, v); err != nil {
		return nil, err
	}
	if to.Description == "" {
		to.Description = v.Description
	}
	if to.Tags == nil {
		to.Tags = v.Tags
	}
	if to.UserMetadata == nil {
		to.UserMetadata = v.UserMetadata
	}
	to.restoredFrom = v.Ref().String()
	if to.Request, err = json.Marshal([]string{"copy", to.restoredFrom}); err != nil {
		return nil, err
	}
	u, err := r.Begin(ctx, to)
	if err != nil {
		return nil, err
	}
	defer u.Abort()
	if !u.Replayed() {
		for _, f := range v.Files {
			if err := r.copyFile(ctx, u, v, f); err != nil {
				return nil, fmt.Errorf("copy %s: %w", v.Ref(), err)
			}
		}
	}
	return u.Commit(ctx, v.Facts)
}

func (r *Registry) copyFile(ctx context.Context, u *Upload, v *Version, f File) (err error) {
	body, err := r.OpenFile(ctx, v, f.Name, blob.Range{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	_, err = u.File(ctx, f.Name, body, f.Size, f.SHA256)
	return err
}
