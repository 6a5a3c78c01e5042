package registry

import (
	"context"
	"fmt"
	"io"
	"slices"

	"modelbucket/blob"
)

// OpenFile reads a file of a version, or a part of it. What the reader gives out has
// been verified against the digests in metadata.json; a wrong byte is ErrCorrupt in its
// place, also in the midst. The caller closes it. At most one piece (8 MiB for files up
// to 16 GiB) is held in memory.
func (r *Registry) OpenFile(ctx context.Context, v *Version, name FileName, part blob.Range) (io.ReadCloser, error) {
	i := slices.IndexFunc(v.stored, func(f storedFile) bool { return f.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w: %s has no file %s", ErrFileNotFound, v.Ref(), name)
	}
	f := v.stored[i]
	if part.Offset < 0 || part.Length < 0 || part.Offset > f.Size || part.Offset == f.Size && f.Size > 0 {
		return nil, fmt.Errorf("%w: %s has %d bytes", blob.ErrRange, name, f.Size)
	}
	want := f.Size - part.Offset
	if part.Length > 0 {
		want = min(want, part.Length)
	}
	key := v.series().fileKey(v.ID, name)
	body, err := newVerifyingReader(key, f, part.Offset, want, func(from, to int64) (io.ReadCloser, error) {
		body, o, err := r.bucket.Get(ctx, key, blob.Range{Offset: from, Length: to - from})
		switch {
		case isNotFound(err):
			return nil, r.missing(ctx, v, key)
		case err != nil:
			return nil, err
		case o.Size != f.Size:
			body.Close()
			return nil, corrupt(key, "has %d bytes, its metadata names %d", o.Size, f.Size)
		}
		return body, nil
	})
	if err != nil {
		return nil, fmt.Errorf("open %s of %s: %w", name, v.Ref(), err)
	}
	return body, nil
}

// missing tells whether a file that is not there was deleted with its version.
func (r *Registry) missing(ctx context.Context, v *Version, key string) error {
	_, deleted, err := r.state(ctx, v.series(), v.Version)
	switch {
	case err != nil:
		return err
	case deleted:
		return fmt.Errorf("%w: its files are gone", ErrVersionDeleted)
	}
	return corrupt(key, "is missing, and the metadata of version %d names it", v.Version)
}
