package web

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"modelbucket/registry"
)

// How long a node takes a key's word. A revocation raises the epoch, which is looked at
// every epochAge; where that fails, a key is read anew at keyAge. With askTime on top,
// both are below 30 s.
const (
	keyAge   = 20 * time.Second
	epochAge = 10 * time.Second // and up to a tenth more or less
	askTime  = 5 * time.Second  // for one question to the store
	askAgain = time.Second      // after one that it did not answer
	patience = time.Second      // how long scoring waits for an answer while it could go on without
	voidAge  = 5 * time.Second  // that there is no such key
	useAge   = time.Hour        // between two notes that a key is used
)

// defaultGrace is how long a key may go on scoring while the store is away.
const defaultGrace = 15 * time.Minute

// maxRemembered bounds what is remembered: keys, ids of no key, and addresses, each.
const maxRemembered = 10_000

// goesOn tells whether a permission still holds while the store is away. All else needs
// the store anyway.
func goesOn(permission Permission) bool { return permission == Detect || permission == DetectorsRead }

// keyring remembers keys, so that a request with one that is known costs no call of the
// store. Nobody tells it what changes: it looks. What it knows it confirms in the
// background while it is used; while the store does not answer, a known key may score for
// the grace, and nothing else, and an unknown one is neither good nor bad. That a key has
// ended is for good, and needs no confirmation.
type keyring struct {
	registry *registry.Registry
	grace    time.Duration
	log      *slog.Logger
	ctx      context.Context
	cancel   context.CancelFunc
	work     sync.WaitGroup
	slots    chan struct{} // bounds the questions under way

	mu      sync.Mutex // guards all below, and what is in known and asking
	closed  bool
	known   map[registry.KeyID]*knownKey
	void    map[registry.KeyID]time.Time // there was no such key then
	asking  map[registry.KeyID]*keyQuestion
	spent   *allowances
	epoch   int64
	polling bool      // while some key is fresh
	latest  time.Time // when the freshest of them was confirmed
	away    bool      // the store did not answer the last question …
	again   time.Time // … and is not asked for unknown keys before this time
}

// knownKey is what the store said of a key.
type knownKey struct {
	key   *registry.Key
	who   Principal
	at    time.Time // when the question was asked that was answered so
	epoch int64     // that was known then
	away  bool      // the store did not answer the last question …
	again time.Time // … and is not asked before this time
	noted time.Time // when its use was written down
}

func newKeyring(r *registry.Registry, grace time.Duration, log *slog.Logger) *keyring {
	k := &keyring{
		registry: r, grace: grace, log: log, slots: make(chan struct{}, 64),
		known: map[registry.KeyID]*knownKey{}, void: map[registry.KeyID]time.Time{}, asking: map[registry.KeyID]*keyQuestion{},
		spent: newAllowances(),
	}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// close ends the questions under way and waits for them.
func (k *keyring) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.cancel()
	k.work.Wait()
}

// admit tells whose token it is. A wrong token and one of no key get the same answer.
func (k *keyring) admit(ctx context.Context, t registry.Token, address netip.Addr, permission Permission) (Principal, error) {
	for range 3 {
		who, q, err := k.look(t, address, goesOn(permission))
		if err != nil || q == nil {
			return who, err
		}
		limit := askTime
		if who.Name != "" && goesOn(permission) {
			limit = patience
		}
		answered, err := q.wait(ctx, limit)
		switch {
		case err != nil:
			return Principal{}, err
		case !answered, q.err != nil && !errors.Is(q.err, registry.ErrKeyNotFound):
			return k.unconfirmed(t, q)
		}
	}
	return Principal{}, newProblem(codeAuthUnavailable) // it changes faster than it can be looked at
}

// look says what is known of a token. With a question, that has to be answered first; who
// is then set where the key is known from before. Who may go on while the store is away
// waits for no answer that may not come; all others do, so that the first of them after its
// return is served.
func (k *keyring) look(t registry.Token, address netip.Addr, goesOn bool) (who Principal, q *keyQuestion, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	e := k.known[t.ID]
	if e == nil {
		q, err = k.askAnew(t, address, now)
		return Principal{}, q, err
	}
	if who, err = admitted(t, e, now); err != nil {
		return Principal{}, nil, err
	}
	if age := now.Sub(e.at); e.epoch == k.epoch && age < keyAge {
		if age > keyAge*3/4 && !(e.away && now.Before(e.again)) {
			k.ask(t.ID, now)
		}
		k.note(t.ID, e, now)
		return who, nil, nil
	}
	if !e.away {
		return who, k.ask(t.ID, now), nil
	}
	if !now.Before(e.again) {
		if q = k.ask(t.ID, now); !goesOn {
			return who, q, nil
		}
	}
	who, err = k.graced(who, e, now)
	return who, nil, err
}

// askAnew asks for a key of which nothing is known.
func (k *keyring) askAnew(t registry.Token, address netip.Addr, now time.Time) (*keyQuestion, error) {
	if at, ok := k.void[t.ID]; ok && now.Sub(at) < voidAge {
		_, err := admitted(t, nil, now)
		return nil, err
	}
	if q := k.asking[t.ID]; q != nil {
		return q, nil
	}
	if k.away && now.Before(k.again) {
		return nil, newProblem(codeAuthUnavailable)
	}
	if !k.spent.take(network(address), now) {
		return nil, problemf(codeTooManyRequests, "too many keys were tried that do not exist")
	}
	q := k.ask(t.ID, now)
	q.payer, q.paid = network(address), true
	return q, nil
}

// unconfirmed is what is known of a token whose question was not answered.
func (k *keyring) unconfirmed(t registry.Token, q *keyQuestion) (Principal, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	e := k.known[t.ID]
	if e == nil {
		return Principal{}, newProblem(codeAuthUnavailable)
	}
	if k.asking[t.ID] == q { // the next one does not wait for it
		e.away, e.again = true, now.Add(askAgain)
	}
	who, err := admitted(t, e, now)
	if err != nil {
		return Principal{}, err
	}
	return k.graced(who, e, now)
}

// graced lets a key go on for the grace.
func (k *keyring) graced(who Principal, e *knownKey, now time.Time) (Principal, error) {
	if now.Sub(e.at) > k.grace {
		return Principal{}, newProblem(codeAuthUnavailable)
	}
	who.stale = true
	return who, nil
}

// admitted tells whether a token opens a key, nil where there is none, and whether that
// is still good.
func admitted(t registry.Token, e *knownKey, now time.Time) (Principal, error) {
	if e == nil {
		e = &knownKey{}
	}
	switch {
	case !e.key.Opens(t):
		return Principal{}, newProblem(codeUnauthenticated)
	case e.key.RevokedAt != nil:
		return Principal{}, problemf(codeUnauthenticated, "the key %s was revoked", e.key.ID)
	case e.key.Expired(now):
		return Principal{}, problemf(codeUnauthenticated, "the key %s expired at %s", e.key.ID, e.key.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return e.who, nil
}

// principalOf is who holds a key.
func principalOf(k *registry.Key) Principal {
	p := Principal{Name: "key:" + string(k.ID), Role: k.Role}
	if k.Tenant != nil {
		p.Tenant = *k.Tenant
	}
	return p
}
