package registry

import (
	"context"
	"errors"
	"fmt"
)

// ErrQuota: the tenant has all the versions or bytes that it may have. It comes as a
// *QuotaExceeded.
var ErrQuota = errors.New("quota exceeded")

// QuotaExceeded is an ErrQuota with its figures.
type QuotaExceeded struct {
	Tenant Tenant    `json:"-"`
	Limit  LimitName `json:"limit"` // versions or stored_bytes
	Max    Limit     `json:"max"`
	Used   int64     `json:"used"` // uploads under way included
	Asked  int64     `json:"asked"`
}

func (e *QuotaExceeded) Error() string {
	if e.Limit == LimitVersions {
		return fmt.Sprintf("%v: tenant %s has %d versions of the %v that it may have", ErrQuota, e.Tenant, e.Used, e.Max)
	}
	return fmt.Sprintf("%v: tenant %s stores %d bytes of the %v that it may store, and this takes %d more", ErrQuota, e.Tenant, e.Used, e.Max, e.Asked)
}

func (e *QuotaExceeded) Unwrap() error { return ErrQuota }

// Room tells, as ErrQuota, that one more version of so many bytes would not fit what its
// tenant may have. It claims nothing: Begin does.
func (r *Registry) Room(ctx context.Context, t Tenant, bytes int64) error {
	c, err := r.claim(ctx, t, bytes)
	c.settle(false)
	return err
}

// claim is what an upload takes of its tenant's quota before it is there, so that of many
// at once no more begin than fit. A nil claim is that of a tenant without a quota.
type claim struct {
	r       *Registry
	t       Tenant
	limits  Limits
	account *account
	amount  amount
}

// claim claims one version of so many bytes.
func (r *Registry) claim(ctx context.Context, t Tenant, bytes int64) (*claim, error) {
	limits, err := r.Limits(ctx, t)
	if err != nil {
		return nil, err
	}
	if limits.Of(LimitVersions) < 0 && limits.Of(LimitStoredBytes) < 0 {
		return nil, nil
	}
	c := &claim{r: r, t: t, limits: limits, account: r.account(t)}
	return c, c.grow(ctx, amount{1, bytes})
}

// reach makes the claim one of at least so many bytes.
func (c *claim) reach(ctx context.Context, bytes int64) error {
	if c == nil || bytes <= c.amount.bytes {
		return nil
	}
	return c.grow(ctx, amount{0, bytes - c.amount.bytes})
}

// grow adds to the claim. Before it refuses, it looks whether room was made elsewhere.
func (c *claim) grow(ctx context.Context, more amount) error {
	var exceeded *QuotaExceeded
	for _, inDoubt := range []bool{false, true} {
		if err := c.r.recount(ctx, c.t, c.account, inDoubt); err != nil {
			return err
		}
		if exceeded = c.account.claim(c.limits, more); exceeded == nil {
			c.amount = c.amount.plus(more)
			return nil
		}
	}
	exceeded.Tenant = c.t
	return exceeded
}

// settle ends the claim: it was made good, or is given up.
func (c *claim) settle(done bool) {
	if c == nil {
		return
	}
	a := c.account
	a.mu.Lock()
	defer a.mu.Unlock()
	a.claimed = a.claimed.minus(c.amount)
	if done {
		a.since = a.since.plus(c.amount)
	}
	c.amount = amount{}
}

// claim takes more of what is left, or says what there is.
func (a *account) claim(limits Limits, more amount) *QuotaExceeded {
	a.mu.Lock()
	defer a.mu.Unlock()
	used := a.counted.plus(a.since).plus(a.claimed)
	if most := limits.Of(LimitVersions); more.versions > 0 && !most.Admits(used.versions+more.versions) {
		return &QuotaExceeded{Limit: LimitVersions, Max: most, Used: used.versions, Asked: more.versions}
	}
	if most := limits.Of(LimitStoredBytes); !most.Admits(used.bytes + more.bytes) {
		return &QuotaExceeded{Limit: LimitStoredBytes, Max: most, Used: used.bytes, Asked: more.bytes}
	}
	a.claimed = a.claimed.plus(more)
	return nil
}

// gone tells that a tenant has less than it had, which nobody need wait to be counted.
func (r *Registry) gone(t Tenant, versions int64) {
	a := r.account(t)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since.versions -= versions
}

// doubt tells that a tenant has less than it had, by nobody knows how much.
func (r *Registry) doubt(t Tenant) {
	a := r.account(t)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.doubts++
}
