package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"modelbucket/blob"
)

// OpenChange is a change whose end the audit log does not tell: it is under way, or its
// node ended. What was to be changed tells what came of it.
type OpenChange struct {
	AuditRecord
	Outcome string `json:"outcome"` // made, not made, not known
}

// The outcomes of an OpenChange.
const (
	OutcomeMade     = "made"
	OutcomeNotMade  = "not made"
	OutcomeNotKnown = "not known"
)

// link is a batch of the audit log as its chain sees it.
type link struct {
	key, digest, previous string
	seq                   int64
}

// audit checks the audit log of a tenant, or that of none: each batch, and that they
// hang together. It goes on with the changes whose end is not there.
func (c *checker) audit(ctx context.Context, t Tenant) error {
	chains := map[string][]link{}
	ended, open := map[string]bool{}, map[string]AuditRecord{}
	for after := ""; ; {
		page, err := c.r.bucket.List(ctx, blob.ListOptions{Prefix: auditPrefix(t), StartAfter: after})
		if err != nil {
			return fmt.Errorf("list the audit log: %w", err)
		}
		batches, links := make([]*auditBatch, len(page.Objects)), make([]link, len(page.Objects))
		err = c.sideBySide(ctx, len(page.Objects), func(ctx context.Context, c *checker, i int) error {
			key := page.Objects[i].Key
			id, ok := locateAudit(t, key)
			if !ok {
				return c.stray(ctx, key, "is no object of ours")
			}
			b, data, err := c.r.readBatch(ctx, key, id)
			if err != nil {
				links[i] = link{key: key, seq: id.seq} // its place is not empty
				batches[i] = &auditBatch{Chain: id.chain}
				return c.damage(key, err)
			}
			batches[i], links[i] = b, link{key, hexSHA256(data), b.Previous, b.Seq}
			return nil
		})
		if err != nil {
			return err
		}
		for i, b := range batches {
			c.report.Objects++
			c.report.Bytes += page.Objects[i].Size
			if b == nil {
				continue
			}
			chains[b.Chain] = append(chains[b.Chain], links[i])
			for _, a := range slices.Backward(b.Records) { // the end of a change comes before its intent
				switch {
				case a.Event == AuditRefused:
				case a.Event != AuditIntent:
					ended[a.ID] = true
				case ended[a.ID]:
					delete(ended, a.ID)
				default:
					open[a.ID] = a
				}
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	for _, id := range slices.Sorted(maps.Keys(chains)) {
		c.chain(chains[id])
	}
	return c.settle(ctx, slices.SortedFunc(maps.Values(open), func(a, b AuditRecord) int { return a.At.Compare(b.At) }), ended)
}

// chain holds the batches of a chain against each other.
func (c *checker) chain(links []link) {
	slices.SortFunc(links, func(a, b link) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.key, b.key)) })
	before := link{}
	for _, l := range links {
		switch {
		case l.seq == before.seq:
			c.problem(l.key, "is batch %d of its chain, as %s is", l.seq, before.key)
		case l.seq > before.seq+1:
			c.problem(l.key, "is batch %d of its chain, and those from %d to %d are missing", l.seq, before.seq+1, l.seq-1)
		case l.digest != "" && (before.digest != "" || l.seq == 1) && l.previous != before.digest:
			c.problem(l.key, "does not follow on %s, which is not what it was when this was written", before.key)
		}
		before = l
	}
}

// settle finds out what came of changes, which are in the order of their time. Those that
// ended meanwhile are none of them: their end was written after the listing had passed its
// place.
func (c *checker) settle(ctx context.Context, open []AuditRecord, ended map[string]bool) error {
	open = slices.DeleteFunc(open, func(a AuditRecord) bool { return ended[a.ID] })
	saves := map[series][]AuditRecord{}
	for _, a := range open {
		if a.Action == AuditPublish || a.Action == AuditCopy {
			s := series{a.Tenant, a.Model}
			saves[s] = append(saves[s], a)
		}
	}
	saved := map[string]string{}
	for s, changes := range saves {
		if err := c.r.outcomesOfSaves(ctx, s, changes, saved); err != nil {
			return fmt.Errorf("find out what came of saves to %s: %w", s, err)
		}
	}
	for _, a := range open {
		outcome, known := saved[a.ID]
		var err error
		if !known {
			outcome, err = c.r.outcomeOf(ctx, a)
		}
		if errors.Is(err, ErrCorrupt) { // it is reported with what is damaged
			outcome, err = OutcomeNotKnown, nil
		}
		if err != nil {
			return fmt.Errorf("find out what came of the change %s: %w", a.ID, err)
		}
		c.report.Open = append(c.report.Open, OpenChange{a, outcome})
	}
	return nil
}

// outcomeOf looks for a change's id in what was to be changed, where that is no save.
func (r *Registry) outcomeOf(ctx context.Context, a AuditRecord) (string, error) {
	s := series{a.Tenant, a.Model}
	switch a.Action {
	case AuditVersionUpdate, AuditVersionDelete:
		n := a.Version
		if n == 0 { // the intent of one that named it otherwise
			return OutcomeNotKnown, nil
		}
		if a.Action == AuditVersionUpdate {
			return lookFor[attributes](ctx, r, s.attributesKey(n), a.ID)
		}
		var t tombstone
		_, err := r.read(ctx, s.tombstoneKey(n), &t)
		return outcomeIf(t.Nonce == a.ID, err)
	case AuditModelUpdate, AuditModelDelete:
		return lookFor[modelBody](ctx, r, s.modelKey(), a.ID)
	case AuditAliasSet, AuditAliasDelete:
		return lookFor[aliasBody](ctx, r, s.aliasKey(a.Alias), a.ID)
	case AuditTenantUpdate, AuditTenantDelete:
		return lookFor[tenantBody](ctx, r, tenantKey(a.Tenant), a.ID)
	case AuditKeyRevoke:
		return lookFor[keyBody](unscoped(ctx), r, keyKey(a.Key), a.ID)
	}
	return OutcomeNotKnown, nil
}

func outcomeIf(made bool, err error) (string, error) {
	switch {
	case isNotFound(err):
		return OutcomeNotMade, nil
	case err != nil:
		return "", err
	case made:
		return OutcomeMade, nil
	}
	return OutcomeNotMade, nil
}

// lookFor looks among the last changes of an object.
func lookFor[T any, P mutable[T]](ctx context.Context, r *Registry, key, id string) (string, error) {
	body, _, err := readMutable[T, P](ctx, r, key)
	if err != nil || body == nil {
		return outcomeIf(false, err)
	}
	recent := body.history().Recent
	made := slices.Contains(recent, id)
	if !made && len(recent) == keptRevisions { // so many followed that it may be forgotten
		return OutcomeNotKnown, nil
	}
	return outcomeIf(made, nil)
}

// outcomesOfSaves looks for all of a model's changes in one walk through its log, the newest
// first, down to what was made long before the first of them. A node that is killed leaves
// many, so that a walk for each would take hours in the end.
func (r *Registry) outcomesOfSaves(ctx context.Context, s series, changes []AuditRecord, outcomes map[string]string) error {
	const clocks = 48 * time.Hour // by which those of two nodes may differ
	first := changes[0].At.Add(-clocks)
	missing := map[string]bool{}
	for _, a := range changes {
		missing[a.ID] = true
		outcomes[a.ID] = OutcomeNotMade
	}
	last, err := r.top(ctx, s)
	for past := false; err == nil && last > 0 && len(missing) > 0 && !past; {
		from := max(1, last-4*sideBySide+1)
		err = r.recordRange(ctx, s, from, last, func(rec *record) error {
			if missing[rec.Nonce] {
				outcomes[rec.Nonce] = OutcomeMade
				delete(missing, rec.Nonce)
			}
			past = past || rec.At.Before(first)
			return nil
		})
		last = from - 1
	}
	if errors.Is(err, ErrCorrupt) || isNotFound(err) { // it is reported with what is damaged
		for id := range missing {
			outcomes[id] = OutcomeNotKnown
		}
		return nil
	}
	return err
}
