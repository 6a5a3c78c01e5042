package detector

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
)

// ResolverOptions bound a resolver; the zero value is ready for use.
type ResolverOptions struct {
	// MaxAge is how old an answer may be while the bucket answers (0: 1 s).
	MaxAge time.Duration
}

const (
	defaultMaxAge = time.Second
	// patience is how long a known answer is kept back in the hope of a newer one.
	patience = time.Second
	// askTimeout bounds one question to the registry.
	askTimeout = 10 * time.Second
	// askAgain is the pause after a question that the bucket did not answer.
	askAgain = time.Second
	// maxAnswers bounds the references remembered, maxHeld the bytes of what they name, and
	// maxAsking the questions under way.
	maxAnswers = 10_000
	maxHeld    = 32 << 20
	maxAsking  = 64
)

// Resolver remembers which version a reference names: latest, an alias, a label or a
// number.
//
// An answer is used for MaxAge, and asked for anew in the background towards the end of
// that, if it is used then. When the bucket does not answer, the last answer stays in
// use, however old. That there is no such version, or no longer, or that it is not served
// for want of a signature, is an answer like any other, but never remembered.
type Resolver struct {
	registry *registry.Registry
	maxAge   time.Duration
	slots    chan struct{}
	ctx      context.Context
	cancel   context.CancelFunc
	asking   sync.WaitGroup

	mu      sync.Mutex // guards all below, and what is in answers
	closed  bool
	answers map[registry.Ref]*answer
	order   list.List // of answers, the one used last in front
	held    int64     // bytes of the versions in answers
}

// answer is what is known of a reference.
type answer struct {
	ref     registry.Ref
	element *list.Element
	version *registry.Version // nil: nothing
	at      time.Time         // when the question was asked that version answered
	away    bool              // the bucket did not answer the last question …
	again   time.Time         // … and will not be asked before this time
	ask     *question         // under way
}

// bytes is what the answer holds in memory.
func (a *answer) bytes() int64 {
	if a.version == nil {
		return 0
	}
	return a.version.Footprint()
}

// question is one call of the registry, shared by all who want to know.
type question struct {
	done    chan struct{} // closed when the rest is set
	version *registry.Version
	at      time.Time
	err     error
}

// NewResolver makes a resolver of the registry's references.
func NewResolver(r *registry.Registry, o ResolverOptions) *Resolver {
	if o.MaxAge <= 0 {
		o.MaxAge = defaultMaxAge
	}
	s := &Resolver{registry: r, maxAge: o.MaxAge, slots: make(chan struct{}, maxAsking), answers: map[registry.Ref]*answer{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends the questions under way and waits for them.
func (s *Resolver) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.asking.Wait()
}

// Resolve returns the version that ref names, with its facts but without what may
// change about it, and how old that answer is. The errors are registry.Served's.
func (s *Resolver) Resolve(ctx context.Context, ref registry.Ref) (*registry.Version, time.Duration, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, 0, fmt.Errorf("resolve %s: %w", ref, ErrClosed)
	}
	a := s.use(ref)
	known, at := a.version, a.at
	age := time.Since(at)
	if known != nil && (age <= s.maxAge || a.away) {
		if age > s.maxAge*3/4 && !(a.away && time.Now().Before(a.again)) {
			s.ask(a)
		}
		s.mu.Unlock()
		return known, age, nil
	}
	q := s.ask(a)
	s.mu.Unlock()

	var giveUp <-chan time.Time
	if known != nil {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		giveUp = timer.C
	}
	select {
	case <-q.done:
	case <-giveUp:
		s.mu.Lock()
		a.away = a.away || a.ask == q
		s.mu.Unlock()
		return known, time.Since(at), nil
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("resolve %s: %w", ref, ctx.Err())
	}
	switch {
	case q.err == nil:
		return q.version, time.Since(q.at), nil
	case known != nil && errors.Is(q.err, blob.ErrUnavailable):
		return known, time.Since(at), nil
	}
	return nil, 0, q.err
}

// Forget drops what is known of a model's references, so that a change made through
// this node is seen by the next request.
func (s *Resolver) Forget(t registry.Tenant, m registry.Model) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, a := range s.answers {
		if ref.Tenant == t && ref.Model == m {
			s.remove(a)
		}
	}
}

// use finds or makes the answer to ref, and marks it as used now.
func (s *Resolver) use(ref registry.Ref) *answer {
	if a := s.answers[ref]; a != nil {
		s.order.MoveToFront(a.element)
		return a
	}
	a := &answer{ref: ref}
	a.element = s.order.PushFront(a)
	s.answers[ref] = a
	if s.order.Len() > maxAnswers {
		s.remove(s.order.Back().Value.(*answer))
	}
	return a
}

func (s *Resolver) remove(a *answer) {
	if s.answers[a.ref] == a {
		delete(s.answers, a.ref)
		s.order.Remove(a.element)
		s.held -= a.bytes()
	}
}

// learn makes a version the answer. Who waits for it gets it, also where it is too large
// to be remembered.
func (s *Resolver) learn(a *answer, v *registry.Version, at time.Time) {
	before := a.bytes()
	a.version, a.at = v, at
	if s.answers[a.ref] != a {
		return // forgotten meanwhile
	}
	s.held += a.bytes() - before
	for s.held > maxHeld {
		s.remove(s.order.Back().Value.(*answer))
	}
}

// ask sends the question, unless it is under way.
func (s *Resolver) ask(a *answer) *question {
	if a.ask == nil {
		q := &question{done: make(chan struct{})}
		a.ask = q
		s.asking.Go(func() { s.answer(a, q) })
	}
	return a.ask
}

// answer asks the registry, with a context of its own: others may want to know when
// the one who asked has left.
func (s *Resolver) answer(a *answer, q *question) {
	ctx, cancel := context.WithTimeout(registry.WithScope(s.ctx, a.ref.Tenant), askTimeout)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		q.at = time.Now()
		q.version, q.err = s.registry.Served(ctx, a.ref)
		<-s.slots
	case <-ctx.Done():
		q.err = ctx.Err()
	}
	if q.err != nil && ctx.Err() != nil {
		q.err = fmt.Errorf("resolve %s: %w: no answer within %s", a.ref, blob.ErrUnavailable, askTimeout)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	a.ask, a.away = nil, false
	switch {
	case q.err == nil:
		s.learn(a, q.version, q.at)
	case errors.Is(q.err, blob.ErrUnavailable):
		a.away, a.again = a.version != nil, time.Now().Add(askAgain)
	case believed(q.err):
		s.remove(a)
	}
	if a.version == nil {
		s.remove(a)
	}
	close(q.done)
}

// believed tells whether an error is an answer: what was named is not there, or not served.
func believed(err error) bool {
	for _, is := range []error{registry.ErrTenantNotFound, registry.ErrModelNotFound, registry.ErrVersionNotFound, registry.ErrAliasNotFound, registry.ErrVersionDeleted, registry.ErrSignatureRequired} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}
