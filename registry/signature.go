package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"modelbucket/blob"
	"modelbucket/registry/signature"
)

// SignatureMode is what becomes of a version without a signature that is trusted.
type SignatureMode string

// The modes, each stricter than the one before.
const (
	SignaturesNone    SignatureMode = "none"    // nothing
	SignaturesWarn    SignatureMode = "warn"    // it is served, and told of
	SignaturesRequire SignatureMode = "require" // it is kept, and not served
)

// UnmarshalText reads a mode.
func (m *SignatureMode) UnmarshalText(text []byte) error {
	switch mode := SignatureMode(text); mode {
	case SignaturesNone, SignaturesWarn, SignaturesRequire:
		*m = mode
		return nil
	}
	return fmt.Errorf("%w: a signature policy is none, warn or require", ErrInvalid)
}

// SignaturePolicy says whose signatures a tenant trusts, and what becomes of versions that
// have none of theirs.
type SignaturePolicy struct {
	Policy SignatureMode `json:"policy"`
	Keys   []string      `json:"keys"` // public keys and root certificates, in PEM
}

const maxPolicyKeys = 256 << 10 // bytes

// admissible refuses a policy that cannot be meant.
func (r *Registry) admissible(p *SignaturePolicy) error {
	if p == nil {
		return nil
	}
	if err := new(SignatureMode).UnmarshalText([]byte(p.Policy)); err != nil {
		return err
	}
	size := 0
	for _, key := range p.Keys {
		size += len(key)
	}
	if size > maxPolicyKeys {
		return fmt.Errorf("%w: the keys have %d bytes, they may have %d", ErrTooLarge, size, maxPolicyKeys)
	}
	trust, err := signature.ParseTrust(p.Keys)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case p.Policy == SignaturesRequire && trust.Empty() && r.options.Trust == nil:
		return fmt.Errorf("%w: without a key no version would ever be served; name one that you trust", ErrInvalid)
	}
	return nil
}

// signatures is what is asked of a tenant's versions on this node.
type signatures struct {
	mode   SignatureMode
	trust  *signature.Trust
	digest [sha256.Size]byte // of the keys, to tell them from others
}

// signatures reads what a tenant asks for.
func (r *Registry) signatures(ctx context.Context, t Tenant) (signatures, error) {
	body, _, err := readMutable[tenantBody](ctx, r, tenantKey(t))
	if err != nil {
		return signatures{}, err
	}
	var policy SignaturePolicy
	if body != nil && body.Signatures != nil {
		policy = *body.Signatures
	}
	asked := signatures{mode: policy.Policy, trust: r.options.Trust}
	switch {
	case r.options.RequireSignature:
		asked.mode = SignaturesRequire
	case asked.mode == "":
		asked.mode = SignaturesNone
	}
	if asked.trust == nil {
		asked.digest = sha256.Sum256([]byte(strings.Join(policy.Keys, "\x00")))
		if asked.trust, err = signature.ParseTrust(policy.Keys); err != nil {
			return signatures{}, corrupt(tenantKey(t), "names a key for signatures that cannot be used: %v", err)
		}
	}
	return asked, nil
}

// The states of a version's signature.
const (
	SignatureNone      = "unsigned"
	SignatureTrusted   = "trusted"
	SignatureUntrusted = "untrusted" // by nobody whom the tenant trusts, as far as can be told
	SignatureInvalid   = "invalid"   // no signature of these files at all
)

// SignatureInfo tells how a version is signed.
type SignatureInfo struct {
	State  string        `json:"state"`
	KeyID  string        `json:"key_id,omitempty"` // see package signature; only where trusted it is certain
	Reason string        `json:"reason,omitempty"` // why it is not trusted
	Policy SignatureMode `json:"policy"`           // what is asked of it
}

// SignatureRequired is an ErrSignatureRequired: which version it is about, and how it is
// signed.
type SignatureRequired struct {
	Ref  Ref
	Info SignatureInfo
}

func (e *SignatureRequired) Error() string {
	return fmt.Sprintf("%v: %s is kept, and not served: %s", ErrSignatureRequired, e.Ref, e.Info.Reason)
}

func (e *SignatureRequired) Unwrap() error { return ErrSignatureRequired }

// refusal is nil if a version that is signed like this is served.
func (i *SignatureInfo) refusal(ref Ref) error {
	if i.Policy != SignaturesRequire || i.State == SignatureTrusted {
		return nil
	}
	return &SignatureRequired{ref, *i}
}

// judge tells what a signature (nil: there is none) is worth for a version.
func (s signatures) judge(v *Version, data []byte) *SignatureInfo {
	info := &SignatureInfo{State: SignatureNone, Policy: s.mode}
	if data == nil {
		if s.mode != SignaturesNone {
			info.Reason = "it has no signature"
		}
		return info
	}
	var err error
	info.KeyID, err = VerifyFiles(data, s.trust, v.Files)
	switch {
	case err == nil:
		info.State = SignatureTrusted
	case errors.Is(err, signature.ErrUntrusted):
		info.State, info.Reason = SignatureUntrusted, err.Error()
	default:
		info.State, info.Reason = SignatureInvalid, err.Error()
	}
	return info
}

// VerifyFiles is nil if data is a trusted signature of exactly these files; else it wraps
// one of the errors of package signature. The id is that of the key, as far as the
// signature can be read; only with nil it is certain.
func VerifyFiles(data []byte, trust *signature.Trust, files []File) (keyID string, err error) {
	b, err := signature.Parse(data)
	if err != nil {
		return "", err
	}
	if err := b.Covers(signable(files)); err != nil {
		return b.KeyID(), err
	}
	id, err := b.Verify(trust)
	if err != nil {
		return b.KeyID(), err
	}
	return id, nil
}

func signable(files []File) []signature.File {
	all := make([]signature.File, len(files))
	for i, f := range files {
		all[i] = signature.File{Name: string(f.Name), SHA256: f.SHA256}
	}
	return all
}

// SignFiles makes the signature of a version that consists of these files. It holds also
// for a copy of the version's folder in the bucket.
func SignFiles(s *signature.Signer, m Model, files []File) ([]byte, error) {
	return s.Sign(string(m), signable(files), metadataName, SignatureName)
}

// readSignature reads the signature of a version; nil: it has none.
func (r *Registry) readSignature(ctx context.Context, v *Version) ([]byte, error) {
	body, o, err := r.bucket.Get(ctx, v.series().signatureKey(v.ID), blob.Range{})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the signature of %s: %w", v.Ref(), err)
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, signature.MaxBundle+1)) // one byte more is one too many
	if err == nil && int64(len(data)) != min(o.Size, signature.MaxBundle+1) {
		err = fmt.Errorf("%w: %d of %d bytes", blob.ErrUnavailable, len(data), o.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("read the signature of %s: %w", v.Ref(), err)
	}
	return data, nil
}

// judged reads the signature of a version and tells what it is worth. A wrong one is read
// once more, as the damage may have been the line's.
func (r *Registry) judged(ctx context.Context, v *Version, asked signatures) (*SignatureInfo, error) {
	var info *SignatureInfo
	for range 2 {
		data, err := r.readSignature(ctx, v)
		if err != nil {
			return nil, err
		}
		if info = asked.judge(v, data); info.State != SignatureInvalid {
			break
		}
	}
	return info, nil
}

// Signature tells how a version is signed.
func (r *Registry) Signature(ctx context.Context, v *Version) (*SignatureInfo, error) {
	var asked signatures
	var data []byte
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { asked, err = r.signatures(gctx, v.Tenant); return err })
	g.Go(func() (err error) { data, err = r.readSignature(gctx, v); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if info := asked.judge(v, data); info.State != SignatureInvalid {
		return info, nil
	}
	return r.judged(ctx, v, asked)
}

// Bundle reads the signature of a version as it is kept: nobody has verified it. A
// version without one is ErrFileNotFound.
func (r *Registry) Bundle(ctx context.Context, v *Version) ([]byte, error) {
	data, err := r.readSignature(ctx, v)
	if err == nil && data == nil {
		return nil, fmt.Errorf("%w: %s has no signature", ErrFileNotFound, v.Ref())
	}
	return data, err
}

// vouchedID is a version with its files, and the keys that were trusted when its
// signature was verified.
type vouchedID [sha256.Size]byte

func (s signatures) vouchedID(v *Version) vouchedID {
	text := append(s.digest[:], v.Tenant+"/"...)
	text = append(append(text, v.Model+"/"...), v.ID...)
	for _, f := range v.Files {
		text = append(append(append(text, '\n'), strconv.Quote(string(f.Name))...), f.SHA256...)
	}
	return sha256.Sum256(text)
}

// admit is nil if a version may be served. That a key has signed it stays true, so it is
// verified once for each set of keys.
func (r *Registry) admit(ctx context.Context, v *Version, asked signatures) error {
	if asked.mode == SignaturesNone {
		return nil
	}
	id := asked.vouchedID(v)
	if _, ok := r.vouched.get(id); ok {
		return nil
	}
	info, err := r.judged(ctx, v, asked)
	if err != nil {
		return err
	}
	if info.State == SignatureTrusted {
		r.vouched.put(id, true)
	} else if asked.mode == SignaturesWarn {
		r.log.Warn("served without a trusted signature", "version", v.Ref().String(), "state", info.State, "reason", info.Reason)
	}
	return info.refusal(v.Ref())
}

// Admit tells whether a version may be served: for scoring, as a file, or to another
// model. It may not, and is ErrSignatureRequired, where signatures are required and no
// trusted key has signed exactly its files. Who uses files asks before.
func (r *Registry) Admit(ctx context.Context, v *Version) error {
	asked, err := r.signatures(ctx, v.Tenant)
	if err != nil {
		return err
	}
	return r.admit(ctx, v, asked)
}

// Served is Resolve for who is about to use the version: what Admit refuses it refuses.
func (r *Registry) Served(ctx context.Context, ref Ref) (*Version, error) {
	var v *Version
	var asked signatures
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { v, err = r.Resolve(gctx, ref); return err })
	g.Go(func() (err error) { asked, err = r.signatures(gctx, ref.Tenant); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if asked.mode != SignaturesRequire {
		return v, nil
	}
	if err := r.admit(ctx, v, asked); err != nil {
		return nil, err
	}
	return v, nil
}
