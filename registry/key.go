package registry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// KeyID names an API key: 10 digits of Crockford's base 32, in lower case. It is no
// secret.
type KeyID string

const keyIDLength = 10

func isKeyID(s string) bool {
	if len(s) != keyIDLength {
		return false
	}
	for i := range len(s) {
		if strings.IndexByte(crockford, s[i]) < 0 {
			return false
		}
	}
	return true
}

func ParseKeyID(s string) (KeyID, error) {
	if !isKeyID(s) {
		return "", badName("key", s, "10 of 0-9 and a-z, without i, l, o and u")
	}
	return KeyID(s), nil
}

func (k *KeyID) UnmarshalText(b []byte) error { return unmarshalText(k, ParseKeyID, b) }

// Key is an API key without its secret. But for its end it never changes.
type Key struct {
	ID         KeyID      `json:"id"`
	Tenant     *Tenant    `json:"tenant"` // null: all tenants
	Role       Role       `json:"role"`
	State      string     `json:"state"` // when it was read, by the clock of who read it
	Note       string     `json:"note"`
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by"`
	ExpiresAt  *time.Time `json:"expires_at"` // null: never
	RevokedAt  *time.Time `json:"revoked_at"`
	RevokedBy  string     `json:"revoked_by,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at"` // to about an hour; null: never, or not asked for

	digest [sha256.Size]byte
}

// The states of a key.
const (
	KeyActive  = "active"
	KeyExpired = "expired"
	KeyRevoked = "revoked"
)

// clockLeeway is how far clocks may differ where a key expires.
const clockLeeway = time.Minute

// Expired tells whether the key's time is over. It is the one thing that a node's own
// clock decides.
func (k *Key) Expired(now time.Time) bool {
	return k.ExpiresAt != nil && now.After(k.ExpiresAt.Add(clockLeeway))
}

// Opens tells in constant time whether a token is the key's. No token is that of nil,
// and to find that out takes as long.
func (k *Key) Opens(t Token) bool {
	var digest [sha256.Size]byte
	if k != nil {
		digest = k.digest
	}
	return subtle.ConstantTimeCompare(t.digest[:], digest[:]) == 1 && k != nil
}

// keyBody is the body of _system/keys/<id>.json.
type keyBody struct {
	revisions
	ID        KeyID      `json:"id"`
	SHA256    string     `json:"sha256"` // of the token
	Tenant    *Tenant    `json:"tenant"`
	Role      string     `json:"role"` // a newer program may know more of them
	Note      string     `json:"note,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	CreatedBy string     `json:"created_by"`
	ExpiresAt *time.Time `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
	RevokedBy string     `json:"revoked_by,omitempty"`
}

// keyOf is what the body found under a key's own key says.
func (r *Registry) keyOf(id KeyID, b *keyBody) (*Key, error) {
	digest, err := hex.DecodeString(b.SHA256)
	if err != nil || len(digest) != sha256.Size || b.ID != id {
		return nil, corrupt(keyKey(id), "is not the record of the key")
	}
	k := &Key{
		ID: id, Tenant: b.Tenant, Role: Role(b.Role), State: KeyActive, Note: b.Note, CreatedAt: b.CreatedAt, CreatedBy: b.CreatedBy,
		ExpiresAt: b.ExpiresAt, RevokedAt: b.RevokedAt, RevokedBy: b.RevokedBy, digest: [sha256.Size]byte(digest),
	}
	switch {
	case k.RevokedAt != nil:
		k.State = KeyRevoked
	case k.Expired(r.now()):
		k.State = KeyExpired
	}
	return k, nil
}

// keyEpoch is the body of _epoch.json, whose revision counts the revocations: it is what
// nodes look at to learn whether any key that they know may be good no longer.
type keyEpoch struct{ revisions }

// keyEntry is the body of an entry in the list of a tenant's keys: its name says all.
type keyEntry struct{}

// keyUse is the body of _used/<id>.json.
type keyUse struct {
	At time.Time `json:"at"`
}

// NewKey says what key is to be made.
type NewKey struct {
	Tenant    Tenant // "": all
	Role      Role
	Note      string
	ExpiresAt *time.Time // nil: never
	By        string
}

const maxNote = 1 << 10 // bytes

// checkNote bounds what is said of a change: it is kept, and read with what was changed.
func checkNote(note string) error {
	if len(note) > maxNote {
		return fmt.Errorf("%w: the note has %d bytes, it may have %d", ErrTooLarge, len(note), maxNote)
	}
	return nil
}

func (k NewKey) check(now time.Time) error {
	switch {
	case k.Role.Letter() == 0:
		return fmt.Errorf("%w: a key needs a role", ErrInvalid)
	case k.Role == Operator && k.Tenant != "":
		return fmt.Errorf("%w: an operator is one for all tenants, and this key is to be one of %s", ErrInvalid, k.Tenant)
	case k.ExpiresAt != nil && !k.ExpiresAt.After(now):
		return fmt.Errorf("%w: the key would expire at %s, which is over", ErrInvalid, k.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return checkNote(k.Note)
}

// CreateKey makes a key and returns it with its token, which is to be had only here: the
// bucket keeps its SHA-256. It is listed before it is there, so that no key ever works
// unseen.
func (r *Registry) CreateKey(ctx context.Context, n NewKey) (*Key, Secret, error) {
	var token Secret
	key, err := audited(ctx, r, AuditRecord{Action: AuditKeyCreate, Tenant: n.Tenant}, func(made *change) (key *Key, err error) {
		key, token, err = r.makeKey(unscoped(ctx), n, cmp.Or(made.id(), r.newID()))
		if err == nil {
			made.tell(func(a *AuditRecord) { a.Key = key.ID })
		}
		return key, err
	})
	return key, token, err
}

func (r *Registry) makeKey(ctx context.Context, n NewKey, nonce string) (*Key, Secret, error) {
	if err := n.check(r.now()); err != nil {
		return nil, "", err
	}
	for {
		id, token := newToken(n.Role)
		digest := sha256.Sum256([]byte(token.Reveal()))
		b := &keyBody{
			ID: id, SHA256: hex.EncodeToString(digest[:]), Role: string(n.Role), Note: n.Note, CreatedAt: r.stamp(), CreatedBy: n.By, ExpiresAt: n.ExpiresAt,
		}
		if n.Tenant != "" {
			b.Tenant = &n.Tenant
		}
		made, err := r.createKey(ctx, n.Tenant, b, nonce)
		switch {
		case errors.Is(err, errUndecided):
			return nil, "", fmt.Errorf("make key: %w: without its token, which nobody has seen, it is of no use: %w", ErrOutcomeUnknown, err)
		case err != nil:
			return nil, "", fmt.Errorf("make key: %w", err)
		case made:
			k, err := r.keyOf(id, b)
			return k, token, err
		}
	}
}

// createKey is false where another key has the id.
func (r *Registry) createKey(ctx context.Context, t Tenant, b *keyBody, nonce string) (made bool, err error) {
	entry, err := seal(keyListKey(t, b.ID), keyEntry{})
	if err != nil {
		return false, err
	}
	b.add(nonce)
	data, err := seal(keyKey(b.ID), b)
	if err != nil {
		return false, err
	}
	if err := r.put(ctx, keyListKey(t, b.ID), entry); err != nil {
		return false, err
	}
	theirs, err := r.create(ctx, keyKey(b.ID), data)
	return err == nil && theirs == nil, err
}

// Key reads a key, whoever's it is. ErrKeyNotFound where there is none.
func (r *Registry) Key(ctx context.Context, id KeyID) (*Key, error) {
	var b keyBody
	_, err := r.read(unscoped(ctx), keyKey(id), &b)
	switch {
	case isNotFound(err):
		return nil, fmt.Errorf("%w: there is no key %s", ErrKeyNotFound, id)
	case err != nil:
		return nil, err
	}
	return r.keyOf(id, &b)
}

// Revocation says which key ends. It must be one of Tenant, unless that is empty.
type Revocation struct {
	ID     KeyID
	Tenant Tenant
	By     string
}

// RevokeKey ends a key for good. Other nodes notice it by the epoch, which is raised
// then, or at the latest when they read the key anew. One that was revoked already stays
// as it is.
func (r *Registry) RevokeKey(ctx context.Context, v Revocation) (*Key, error) {
	return audited(ctx, r, AuditRecord{Action: AuditKeyRevoke, Tenant: v.Tenant, Key: v.ID}, func(made *change) (*Key, error) {
		return r.revokeKey(unscoped(ctx), v, made.id())
	})
}

func (r *Registry) revokeKey(ctx context.Context, v Revocation, nonce string) (*Key, error) {
	b, err := update(ctx, r, keyKey(v.ID), nonce, func(old *keyBody) (*keyBody, error) {
		if old == nil || v.Tenant != "" && (old.Tenant == nil || *old.Tenant != v.Tenant) {
			return nil, fmt.Errorf("%w: there is no key %s", ErrKeyNotFound, v.ID)
		}
		if old.RevokedAt != nil {
			return nil, errKeep
		}
		next, at := *old, r.stamp()
		next.RevokedAt, next.RevokedBy = &at, v.By
		return &next, nil
	})
	switch {
	case errors.Is(err, errKeep):
		return r.Key(ctx, v.ID)
	case err != nil:
		return nil, fmt.Errorf("revoke key %s: %w", v.ID, err)
	}
	if err := r.raiseKeyEpoch(ctx); err != nil { // the key is revoked all the same
		r.log.Warn("other nodes notice that a key was revoked only when they read it anew", "key", v.ID, "err", err)
	}
	return r.keyOf(v.ID, b)
}

func (r *Registry) raiseKeyEpoch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
	defer cancel()
	_, err := update(ctx, r, keyEpochKey, "", func(old *keyEpoch) (*keyEpoch, error) {
		next := keyEpoch{}
		if old != nil {
			next = *old
		}
		return &next, nil
	})
	return err
}

// KeyEpoch is a number that changes after a key was revoked.
func (r *Registry) KeyEpoch(ctx context.Context) (int64, error) {
	epoch, _, err := readMutable[keyEpoch](unscoped(ctx), r, keyEpochKey)
	return revision(epoch), err
}

// NoteKeyUse remembers that a key was used just now. A node that only reads remembers
// nothing.
func (r *Registry) NoteKeyUse(ctx context.Context, id KeyID) error {
	if r.options.ReadOnly {
		return nil
	}
	data, err := seal(keyUseKey(id), keyUse{r.stamp()})
	if err != nil {
		return err
	}
	return r.put(unscoped(ctx), keyUseKey(id), data)
}
