package web

import (
	"sync/atomic"
	"time"
)

// rightsAge is how long a request goes on before it is asked again whether it may. With
// what a keyring takes to learn of a revocation this is below 30 s.
const rightsAge = time.Second

// rights are what a request was let in by. One that takes long is asked for them again as
// its bytes move, so that a key that is revoked ends what is under way with it just as it
// is refused the next time.
type rights struct {
	ask    func() error
	asked  atomic.Int64 // when, in nanoseconds since began
	began  time.Time
	scores bool // and so goes on while the store is away, and may have no end
	issued bool // by an issuer's token, which nobody takes back: what it began it may finish, but for what has no end
}

// grant keeps how a request was let in, just now.
func (r *rights) grant(who Principal, permission Permission, ask func() error) {
	r.ask, r.began, r.scores, r.issued = ask, time.Now(), goesOn(permission), who.issued
}

// still tells whether a request may go on, in its midst. That the store cannot say is no
// reason to lose what came so far: what needs the store will find out for itself.
func (r *rights) still() error {
	err := r.last()
	if err != nil && !r.scores && ProblemOf(err).Code == codeAuthUnavailable {
		return nil
	}
	return err
}

// last is still before a change is made, when the store has to have said so.
func (r *rights) last() error {
	if r.ask == nil || r.issued && !r.scores {
		return nil
	}
	since, asked := int64(time.Since(r.began)), r.asked.Load()
	if since-asked < int64(rightsAge) || !r.asked.CompareAndSwap(asked, since) {
		return nil
	}
	return r.ask()
}
