package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"modelbucket/blob"
	"modelbucket/registry/signature"
)

// Sign puts a signature beside a version that is there, in place of the one that it has.
// It must be of exactly its files; and by a trusted key, where there are any: else it is
// ErrBadSignature, and nothing is changed. Of two who sign at once the later one stays.
func (r *Registry) Sign(ctx context.Context, ref Ref, data []byte) (*Version, error) {
	what := ref.audit(AuditSign)
	return audited(ctx, r, what, func(made *change) (*Version, error) {
		return r.signVersion(ctx, ref, data, made)
	})
}

func (r *Registry) signVersion(ctx context.Context, ref Ref, data []byte, made *change) (*Version, error) {
	v, err := r.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	made.tell(func(a *AuditRecord) { a.Version = v.Version })
	asked, err := r.signatures(ctx, v.Tenant)
	if err != nil {
		return nil, err
	}
	info := asked.judge(v, data)
	switch {
	case info.State == SignatureTrusted, info.State == SignatureUntrusted && asked.trust.Empty():
	default:
		return nil, fmt.Errorf("sign %s: %w: %s", v.Ref(), ErrBadSignature, info.Reason)
	}
	if err := r.replace(ctx, v.series().signatureKey(v.ID), data); err != nil {
		return nil, fmt.Errorf("sign %s: %w", v.Ref(), err)
	}
	if v, err = r.Version(ctx, v.Ref()); err != nil {
		if errors.Is(err, ErrVersionDeleted) {
			return nil, err
		}
		return nil, unread(err)
	}
	v.Signature = info
	return v, nil
}

// replace writes data under key in place of whatever lies there. Each try replaces just
// what it has read, so that a request that was held up on its way does no harm to what
// came later. A lost answer is settled by reading: data is found, or it is sent again. An
// error that is no ErrOutcomeUnknown means that nothing was changed, and nothing will be.
func (r *Registry) replace(ctx context.Context, key string, data []byte) error {
	sent := false
	lastErr := fmt.Errorf("%w: %d tries were each overtaken by another change", ErrConflict, updateTries)
	for range updateTries {
		found, etag, err := r.present(ctx, key)
		if err != nil {
			return undecided(key, sent, err)
		}
		if bytes.Equal(found, data) {
			return nil
		}
		_, err = r.bucket.Put(ctx, key, bytes.NewReader(data), blob.PutOptions{Size: int64(len(data)), IfAbsent: etag == "", IfMatch: etag})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, blob.ErrPrecondition), errors.Is(err, blob.ErrNotFound):
			sent = true // what is in the way may be the same request, sent twice on its way
		case errors.Is(err, blob.ErrNotSent) && !sent:
			return undecided(key, false, err)
		case errors.Is(err, blob.ErrNotSent):
			lastErr = err
		case errors.Is(err, blob.ErrUnavailable), ctx.Err() != nil:
			sent, lastErr = true, err
		default:
			return undecided(key, sent, err)
		}
		if err := r.pause(ctx, retryPause); err != nil {
			return undecided(key, sent, errors.Join(lastErr, err))
		}
	}
	return undecided(key, sent, lastErr)
}

// present reads a whole object and its ETag; "" where there is none.
func (r *Registry) present(ctx context.Context, key string) ([]byte, string, error) {
	data, o, err := r.readAll(ctx, key)
	switch {
	case isNotFound(err):
		return nil, "", nil
	case errors.Is(err, ErrCorrupt): // far too large: to be replaced all the same
		o, err = r.bucket.Stat(ctx, key)
	}
	return data, o.ETag, err
}

// inspectSignature tells what a version's signature is worth, and what is wrong with it:
// one that came with the files is kept as it came, and is no damage; every other one was
// right when it was put there.
func (r *Registry) inspectSignature(ctx context.Context, v *Version, asked signatures) (info *SignatureInfo, wrong string, err error) {
	for range 2 { // the damage may have been the line's
		data, err := r.readSignature(ctx, v)
		if err != nil {
			return nil, "", err
		}
		info, wrong = asked.judge(v, data), ""
		switch {
		case data == nil && v.signed != "":
			wrong = fmt.Sprintf("is missing, and version %d came with one", v.Version)
		case info.State == SignatureInvalid && hexSHA256(data) != v.signed:
			wrong = info.Reason
		}
		if wrong == "" {
			break
		}
	}
	return info, wrong, nil
}

// Signature takes in the signature that comes with the files. What it is worth is told
// once the version is saved, for a wrong one is kept too.
func (u *Upload) Signature(data []byte) error {
	if err := u.usable(); err != nil {
		return err
	}
	switch {
	case u.signature != nil:
		return fmt.Errorf("%w: the signature %s came twice", ErrInvalid, SignatureName)
	case len(data) > signature.MaxBundle:
		return fmt.Errorf("%w: the signature has %d bytes, it may have %d", ErrTooLarge, len(data), signature.MaxBundle)
	}
	u.signature = append([]byte{}, data...)
	return nil
}

// sign signs the files, where they came without a signature and this node has a key.
func (u *Upload) sign() (err error) {
	if u.signature == nil && u.p.Signer != nil {
		files := make([]File, len(u.files))
		for i, f := range u.files {
			files[i] = f.File
		}
		u.signature, err = SignFiles(u.p.Signer, u.p.Model, files)
	}
	return err
}

// judge tells what the signature of the version that was published is worth: of one that
// an earlier request saved, the signature that lies there.
func (u *Upload) judge(ctx context.Context, rec *record) (*SignatureInfo, error) {
	v, err := u.r.immutable(ctx, u.s, rec.Version)
	if err != nil {
		return nil, err
	}
	if rec.Folder != u.id {
		return u.r.judged(ctx, v, u.asked)
	}
	return u.asked.judge(v, u.signature), nil
}
