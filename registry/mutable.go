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

const updateTries = 10

// update reads the object under key (nil: absent), lets change turn a copy of it into
// the next state, and swaps that in; when others are quicker it begins again, at most
// ten times. change may refuse with an error, which is returned as it is. The result
// is the state that this call produced. nonce names the change: if it is among the
// recent ones already, nothing is done and the present state is returned. An error that
// is no ErrOutcomeUnknown means that nothing was changed, and nothing will be.
func update[T any, P mutable[T]](ctx context.Context, r *Registry, key, nonce string, change func(old P) (P, error)) (P, error) {
	if nonce == "" {
		nonce = uuid.NewString()
	}
	var sent P // a state whose fate is not known: it may be there, or come yet
	var lastErr error
	for try := 0; ; try++ {
		old, etag, err := readMutable[T, P](ctx, r, key)
		if err != nil {
			return nil, undecided(key, sent != nil, err)
		}
		if old != nil && slices.Contains(old.history().Recent, nonce) {
			if sent != nil && sent.history().Revision < old.history().Revision {
				return sent, nil
			}
			return old, nil
		}
		if sent != nil {
			switch ahead := revision(old) - revision(sent); {
			case ahead >= keptRevisions:
				return nil, undecided(key, true, errors.New("so many changes followed that it can't be told"))
			case ahead >= 0, old == nil && revision(sent) > 1:
				sent = nil // what it was to follow is gone: lost for good
			}
		}
		if try == updateTries {
			if lastErr == nil {
				lastErr = fmt.Errorf("%w: %d tries were each overtaken by another change", ErrConflict, updateTries)
			}
			return nil, undecided(key, sent != nil, lastErr)
		}
		next, err := change(old)
		if err != nil {
			return nil, outcome(sent != nil, err)
		}
		next.history().add(nonce)
		data, err := seal(key, next)
		if err != nil {
			return nil, outcome(sent != nil, err)
		}
		_, lastErr = r.bucket.Put(ctx, key, bytes.NewReader(data), blob.PutOptions{Size: int64(len(data)), IfAbsent: old == nil, IfMatch: etag})
		switch {
		case lastErr == nil:
			return next, nil
		case errors.Is(lastErr, blob.ErrPrecondition), errors.Is(lastErr, blob.ErrNotFound):
			// What is in the way may be one's own earlier try, or this one, sent twice on
			// its way: the next read tells.
			sent, lastErr = next, nil
		case errors.Is(lastErr, blob.ErrNotSent) && sent == nil:
			return nil, undecided(key, false, lastErr)
		case errors.Is(lastErr, blob.ErrNotSent):
		case errors.Is(lastErr, blob.ErrUnavailable), ctx.Err() != nil:
			sent = next
		default:
			return nil, undecided(key, sent != nil, lastErr)
		}
		if err := r.pause(ctx, retryPause); err != nil {
			return nil, undecided(key, sent != nil, errors.Join(lastErr, err))
		}
	}
}

// revision is that of a state; 0 where there is none.
func revision[T any, P mutable[T]](p P) int64 {
	if p == nil {
		return 0
	}
	return p.history().Revision
}

func undecided(key string, sent bool, err error) error {
	return fmt.Errorf("change %s: %w", key, outcome(sent && !errors.Is(err, ErrCorrupt), err))
}

// outcome is err, or ErrOutcomeUnknown because of err.
func outcome(unknown bool, err error) error {
	if unknown {
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	return err
}

// unread is the error of a change that was made, and could not be read back.
func unread(err error) error {
	return fmt.Errorf("%w: the change was made, and can't be read back: %w", ErrOutcomeUnknown, err)
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
