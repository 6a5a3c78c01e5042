package web

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"modelbucket/registry"
)

// How a keyring asks the store: for a key, for the epoch, and to note that a key is used.

// keyQuestion is one look at a key, shared by all who want to know.
type keyQuestion struct {
	done  chan struct{} // closed when err is set
	err   error
	at    time.Time
	epoch int64
	payer netip.Addr // whose allowance it is on, if paid, until it turns out that there is such a key
	paid  bool
	void  bool // the key was changed here meanwhile
}

// ask looks at a key, unless that is under way.
func (k *keyring) ask(id registry.KeyID, now time.Time) *keyQuestion {
	if q := k.asking[id]; q != nil {
		return q
	}
	q := &keyQuestion{done: make(chan struct{}), at: now, epoch: k.epoch}
	if k.closed {
		q.err = context.Canceled
		close(q.done)
		return q
	}
	k.asking[id] = q
	k.work.Go(func() { k.answer(id, q) })
	return q
}

func (k *keyring) answer(id registry.KeyID, q *keyQuestion) {
	ctx, cancel := context.WithTimeout(k.ctx, askTime)
	defer cancel()
	var key *registry.Key
	select {
	case k.slots <- struct{}{}:
		key, q.err = k.registry.Key(ctx, id)
		<-k.slots
	case <-ctx.Done():
		q.err = fmt.Errorf("read key %s: %w", id, ctx.Err())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	defer close(q.done)
	if k.asking[id] == q {
		delete(k.asking, id)
	}
	if q.void {
		return // who waits looks again
	}
	e, missing := k.known[id], errors.Is(q.err, registry.ErrKeyNotFound)
	if q.paid && !missing {
		k.spent.give(q.payer)
	}
	switch {
	case q.err == nil:
		if e == nil {
			e = &knownKey{}
			remember(k.known, id, e)
		}
		e.key, e.who, e.at, e.epoch, e.away = key, principalOf(key), q.at, q.epoch, false
		k.away = false
		k.pollFor(q.at)
	case missing:
		delete(k.known, id)
		remember(k.void, id, time.Now())
	default:
		again := time.Now().Add(askAgain)
		if e != nil {
			e.away, e.again = true, again
		}
		if !k.away && k.ctx.Err() == nil {
			k.log.Warn("keys cannot be confirmed", "err", q.err)
		}
		if !errors.Is(q.err, registry.ErrCorrupt) { // that is of this one alone
			k.away, k.again = true, again
		}
	}
}

// wait is false where there was no answer within limit. The error is ctx's.
func (q *keyQuestion) wait(ctx context.Context, limit time.Duration) (answered bool, err error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-q.done:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, fmt.Errorf("look at key: %w", ctx.Err())
	}
}

// forget drops what is known of a key that was changed here, on behalf of a tenant ("":
// of all). What is known of another's key stays: it may be all that lets him go on while
// the store is away.
func (k *keyring) forget(id registry.KeyID, t registry.Tenant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.known[id]; e != nil && t != "" && e.who.Tenant != t {
		return
	}
	delete(k.known, id)
	delete(k.void, id)
	if q := k.asking[id]; q != nil {
		q.void = true
		delete(k.asking, id)
	}
}

// forgetAll drops what is known of any key.
func (k *keyring) forgetAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.known)
	for _, q := range k.asking {
		q.void = true
	}
	clear(k.asking)
}

// note writes down from time to time that a key is used.
func (k *keyring) note(id registry.KeyID, e *knownKey, now time.Time) {
	if now.Sub(e.noted) < useAge || k.closed {
		return
	}
	e.noted = now
	k.work.Go(func() {
		ctx, cancel := context.WithTimeout(k.ctx, askTime)
		defer cancel()
		if err := k.registry.NoteKeyUse(ctx, id); err != nil && k.ctx.Err() == nil {
			k.log.Warn("the use of a key was not noted", "key", id, "err", err)
		}
	})
}

// pollFor keeps the epoch known for keys that were confirmed at a time.
func (k *keyring) pollFor(at time.Time) {
	if k.latest.Before(at) {
		k.latest = at
	}
	if !k.polling && !k.closed {
		k.polling = true
		k.work.Go(k.poll)
	}
}

// poll looks at the epoch until no key is fresh any more. Where the store does not
// answer, the keys' own age ends their freshness.
func (k *keyring) poll() {
	for {
		timer := time.NewTimer(epochAge*9/10 + rand.N(epochAge/5))
		select {
		case <-timer.C:
		case <-k.ctx.Done():
			timer.Stop()
			return
		}
		k.mu.Lock()
		if time.Since(k.latest) > keyAge {
			k.polling = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		ctx, cancel := context.WithTimeout(k.ctx, askTime)
		epoch, err := k.registry.KeyEpoch(ctx)
		cancel()
		if err != nil {
			continue
		}
		k.mu.Lock()
		k.epoch = epoch
		k.mu.Unlock()
	}
}
