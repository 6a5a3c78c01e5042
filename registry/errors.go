package registry

import (
	"errors"
	"fmt"
)

// Every error of the registry wraps one of these, or one of blob's, or a context's.
var (
	ErrBadName        = errors.New("bad name")
	ErrInvalid        = errors.New("invalid request")
	ErrTenantNotFound = errors.New("tenant not found")
	ErrModelNotFound  = errors.New("model not found")
	// ErrVersionNotFound: the model has no version of that number or label.
	ErrVersionNotFound = errors.New("version not found")
	ErrAliasNotFound   = errors.New("alias not found")
	ErrFileNotFound    = errors.New("file not found")
	ErrKeyNotFound     = errors.New("key not found")
	// ErrVersionDeleted: the version was there; its number and label stay taken.
	ErrVersionDeleted = errors.New("version deleted")
	ErrLabelTaken     = errors.New("label taken")
	// ErrAliasInUse: a version that an alias names is not deleted.
	ErrAliasInUse = errors.New("alias in use")
	// ErrTenantInUse: a tenant that has models is not deleted.
	ErrTenantInUse = errors.New("tenant in use")
	// ErrConflict: others kept changing the object; nothing was changed.
	ErrConflict = errors.New("conflict")
	// ErrPrecondition: the caller's expectation (If-Match) does not hold.
	ErrPrecondition = errors.New("precondition failed")
	// ErrIdempotencyMismatch: the key was used before, with other content.
	ErrIdempotencyMismatch = errors.New("idempotency key used with other content")
	// ErrDigestMismatch: the bytes that arrived are not those that were declared.
	ErrDigestMismatch = errors.New("digest mismatch")
	ErrTooLarge       = errors.New("too large")
	// ErrSignatureRequired: the version is kept and not served, for want of a signature
	// that its tenant trusts. It comes as a *SignatureRequired.
	ErrSignatureRequired = errors.New("signature required")
	// ErrBadSignature: what was sent is no signature of this version, or of nobody whom
	// its tenant trusts; nothing was changed.
	ErrBadSignature = errors.New("bad signature")
	// ErrCorrupt: stored bytes are not what was stored; the error names the object.
	ErrCorrupt  = errors.New("corrupt")
	ErrReadOnly = errors.New("read-only")
	// ErrOutcomeUnknown: a change was sent and its fate could not be learnt in time.
	ErrOutcomeUnknown = errors.New("outcome unknown")
)

// OutcomeUnknown is an ErrOutcomeUnknown that can be settled: the same request,
// repeated with Key as its idempotency key, finds the version or saves it once.
type OutcomeUnknown struct {
	Key string
	Err error
}

func (e *OutcomeUnknown) Error() string {
	return fmt.Sprintf("%v: it may have been saved; repeat it with the idempotency key %s: %v", ErrOutcomeUnknown, e.Key, e.Err)
}

func (e *OutcomeUnknown) Unwrap() []error { return []error{ErrOutcomeUnknown, e.Err} }

// corrupt reports a stored object that is not what it should be.
func corrupt(key, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrCorrupt, key, fmt.Sprintf(format, args...))
}
