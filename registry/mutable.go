package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"modelbucket/blob"
)

// retryPause bounds the random wait between two tries of one conditional write.
const retryPause = 100 * time.Millisecond

// revisions is part of each object that changes by compare-and-swap. It counts the
// changes and remembers who made the last ones, so that a writer whose answer was
// lost can learn from the object itself whether its change went in.
type revisions struct {
	Revision int64    `json:"revision"`
	Recent   []string `json:"recent"` // nonces, newest first
}

const keptRevisions = 50

func (v *revisions) history() *revisions { return v }

func (v *revisions) add(nonce string) {
	v.Revision++
	v.Recent = append([]string{nonce}, v.Recent[:min(len(v.Recent), keptRevisions-1)]...)
}

// mutable is a pointer to a body that embeds revisions.
type mutable[T any] interface {
	*T
	history() *revisions
}

// update reads the object under key (nil: absent), lets change turn a copy of it into
// the next state, and swaps that in; when others are quicker it begins again, at most
// ten times. change may refuse with an error, which is returned as it is. The result
// is the state that this call produced. nonce names the change: if it is among the
// recent ones already, nothing is done and the present state is returned.
func update[T any, P mutable[T]](ctx context.Context, r *Registry, key, nonce string, change func(old P) (P, error)) (P, error) {
	if nonce == "" {
		nonce = uuid.NewString()
	}
	var sent P // the state that was sent and may have gone in
	for range 10 {
		old, etag, err := readMutable[T, P](ctx, r, key)
		if err != nil {
			return nil, undecided(key, sent != nil, err)
		}
		if old != nil && slices.Contains(old.history().Recent, nonce) {
			if sent != nil && sent.history().Revision <= old.history().Revision {
				return sent, nil
			}
			return old, nil
		}
		next, err := change(old)
		if err != nil {
			return nil, err
		}
		next.history().add(nonce)
		data, err := seal(key, next)
		if err != nil {
			return nil, err
		}
		_, err = r.bucket.Put(ctx, key, bytes.NewReader(data), blob.PutOptions{Size: int64(len(data)), IfAbsent: old == nil, IfMatch: etag})
		switch {
		case err == nil:
			return next, nil
		case errors.Is(err, blob.ErrPrecondition), errors.Is(err, blob.ErrNotFound):
			sent = next // may be one's own earlier try that is in the way: the next read tells
		case errors.Is(err, blob.ErrNotSent) && sent == nil:
			return nil, undecided(key, false, err)
		case errors.Is(err, blob.ErrUnavailable), ctx.Err() != nil:
			sent = next
		default:
			return nil, fmt.Errorf("change %s: %w", key, err)
		}
		if err := pause(ctx, retryPause); err != nil {
			return nil, undecided(key, true, err)
		}
	}
	return nil, fmt.Errorf("change %s: %w: ten tries were each overtaken by another change", key, ErrConflict)
}

func undecided(key string, sent bool, err error) error {
	if sent && !errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("change %s: %w: %w", key, ErrOutcomeUnknown, err)
	}
	return fmt.Errorf("change %s: %w", key, err)
}

// readMutable returns nil without an error when the object is absent.
func readMutable[T any, P mutable[T]](ctx context.Context, r *Registry, key string) (P, string, error) {
	p := P(new(T))
	o, err := r.read(ctx, key, p)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	return p, o.ETag, nil
}
