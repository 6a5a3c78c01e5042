package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LimitName names one limit on what a tenant may do.
type LimitName string

// The limits. Rates count on each node for itself.
const (
	LimitRequests    LimitName = "requests_per_second"
	LimitEvents      LimitName = "events_per_second" // judged or trained on
	LimitKeyRequests LimitName = "key_requests_per_second"
	LimitKeyEvents   LimitName = "key_events_per_second" // as above, of each key alone
	LimitBodyRate    LimitName = "body_bytes_per_second" // while others are served, too
	LimitUploads     LimitName = "uploads"               // under way at once on one node
	LimitUploadBytes LimitName = "upload_bytes"          // of one upload or training
	LimitCachedBytes LimitName = "cached_bytes"          // of detectors in one node's memory
	LimitVersions    LimitName = "versions"              // that are not deleted, of all models
	LimitStoredBytes LimitName = "stored_bytes"          // of all that lies in the store
)

// LimitNames are all limits there are.
func LimitNames() []LimitName {
	return []LimitName{
		LimitRequests, LimitEvents, LimitKeyRequests, LimitKeyEvents,
		LimitBodyRate, LimitUploads, LimitUploadBytes, LimitCachedBytes, LimitVersions, LimitStoredBytes,
	}
}

// Limit is the most of something that a tenant may have; 0 is nothing at all. In JSON it
// is a number, or "unlimited".
type Limit int64

// Unlimited is no limit.
const Unlimited Limit = -1

// maxLimit is the largest limit: what every reader of JSON can tell from its neighbours.
const maxLimit = 1<<53 - 1

const unlimitedText = "unlimited"

func (l Limit) String() string {
	if l < 0 {
		return unlimitedText
	}
	return strconv.FormatInt(int64(l), 10)
}

// Admits tells whether there may be n.
func (l Limit) Admits(n int64) bool { return l < 0 || n <= int64(l) }

func (l Limit) MarshalJSON() ([]byte, error) {
	if l < 0 {
		return []byte(`"` + unlimitedText + `"`), nil
	}
	return strconv.AppendInt(nil, int64(l), 10), nil
}

func (l *Limit) UnmarshalJSON(text []byte) error {
	if string(text) == `"`+unlimitedText+`"` {
		*l = Unlimited
		return nil
	}
	return l.parse(string(text))
}

func (l *Limit) parse(text string) error {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n > maxLimit {
		return fmt.Errorf("%w: a limit is a whole number from 0 to %d, or %q", ErrInvalid, uint64(maxLimit), unlimitedText)
	}
	*l = Limit(n)
	return nil
}

// Limits are limits by name. What is not named is not bounded here.
type Limits map[LimitName]Limit

// Of is a limit, or Unlimited.
func (l Limits) Of(name LimitName) Limit {
	if limit, ok := l[name]; ok {
		return limit
	}
	return Unlimited
}

// Over are these limits, where they name one, and else those below.
func (l Limits) Over(below Limits) Limits {
	all := maps.Clone(below)
	if all == nil {
		all = Limits{}
	}
	maps.Copy(all, l)
	return all
}

// ParseLimit reads "stored_bytes=10GiB", as it is written in a flag. The value is a
// number, one of KiB, MiB, GiB or TiB where the limit counts bytes, "unlimited", or
// "default", for which limit is nil: the tenant's own goes, and the node's counts.
func ParseLimit(text string) (name LimitName, limit *Limit, err error) {
	before, value, ok := strings.Cut(text, "=")
	name = LimitName(strings.TrimSpace(before))
	value = strings.TrimSpace(value)
	if !ok {
		return "", nil, fmt.Errorf("%w: a limit is written name=value, for example %s=100", ErrInvalid, LimitRequests)
	}
	if err := name.check(); err != nil {
		return "", nil, err
	}
	limit = new(Limit)
	switch value {
	case "default":
		return name, nil, nil
	case unlimitedText:
		*limit = Unlimited
		return name, limit, nil
	}
	number, unit, units := value, int64(1), ""
	if strings.Contains(string(name), "_bytes") {
		units = ", or one of KiB, MiB, GiB or TiB"
		for i, suffix := range []string{"KiB", "MiB", "GiB", "TiB"} {
			if cut, ok := strings.CutSuffix(value, suffix); ok {
				number, unit = strings.TrimSpace(cut), 1<<(10*(i+1))
			}
		}
	}
	if err := limit.parse(number); err != nil || int64(*limit) > maxLimit/unit {
		return "", nil, fmt.Errorf("%w: %s cannot be %s: it is a whole number from 0 to %d%s, or unlimited, or default",
			ErrInvalid, name, shownText(value), uint64(maxLimit), units)
	}
	*limit *= Limit(unit)
	return name, limit, nil
}

func (n LimitName) check() error {
	if slices.Contains(LimitNames(), n) {
		return nil
	}
	var names []string
	for _, known := range LimitNames() {
		names = append(names, string(known))
	}
	return fmt.Errorf("%w: there is no limit %s; there are %s", ErrInvalid, shownText(string(n)), strings.Join(names, ", "))
}

// shownText is text from outside as an error may repeat it.
func shownText(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return strconv.QuoteToASCII(s)
}

// changed are the limits with a change: nil takes one away. Limits that a newer program
// knows stay as they are.
func (l Limits) changed(change map[LimitName]*Limit) (Limits, error) {
	if len(change) == 0 {
		return l, nil
	}
	next := l.Over(nil)
	for name, limit := range change {
		if err := name.check(); err != nil {
			return nil, err
		}
		if limit == nil {
			delete(next, name)
		} else {
			next[name] = *limit
		}
	}
	return next, nil
}

// limitsAge is how old a node's knowledge of a tenant's limits may be.
const limitsAge = 10 * time.Second

// known is what a node knows of a tenant's limits.
type known struct {
	limits Limits // in force
	at     time.Time
}

// Limits are the limits in force for a tenant on this node: its own, and else those of
// Options. What was read within ten seconds counts; where _tenant.json is damaged, what was
// known before.
func (r *Registry) Limits(ctx context.Context, t Tenant) (Limits, error) {
	if limits, fresh := r.KnownLimits(t); fresh {
		return limits, nil
	}
	at := r.now()
	body, _, err := readMutable[tenantBody](rescope(ctx, t), r, tenantKey(t))
	if errors.Is(err, ErrCorrupt) {
		limits, _ := r.KnownLimits(t)
		return limits, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read limits of %s: %w", t, err)
	}
	return r.learn(t, body, at), nil
}

// KnownLimits are the limits in force as far as that is known without asking the bucket.
// fresh is false where it is time to ask, by Limits.
func (r *Registry) KnownLimits(t Tenant) (limits Limits, fresh bool) {
	if k, ok := r.limits.get(t); ok {
		return k.limits, r.since(k.at) < limitsAge
	}
	return r.options.Limits, false
}

// KnownLimit is one of KnownLimits; negative: there is none.
func (r *Registry) KnownLimit(t Tenant, name LimitName) int64 {
	limits, _ := r.KnownLimits(t)
	return int64(limits.Of(name))
}

// learn takes note of a tenant's limits as they were at a time.
func (r *Registry) learn(t Tenant, body *tenantBody, at time.Time) Limits {
	k := known{limits: r.options.Limits, at: at}
	if body != nil && !body.Deleted && len(body.Limits) > 0 {
		k.limits = body.Limits.Over(r.options.Limits)
	}
	r.limits.put(t, k)
	return k.limits
}
