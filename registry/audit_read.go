package registry

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"modelbucket/blob"
)

// AuditQuery chooses records of a tenant's audit log, or of that of no tenant, the newest
// first. What is empty chooses all.
type AuditQuery struct {
	Tenant Tenant
	Since  time.Time // not before
	Until  time.Time // before
	Event  AuditEvent
	Action AuditAction
	By     string
	Model  Model
	Limit  int         // records (0: 100)
	After  AuditCursor // what an earlier page ended with
}

// AuditPage is a page of records. One whose Next is not empty may have few records, or
// none: no more than auditPageBatches are looked at for it.
type AuditPage struct {
	Records []AuditRecord
	Next    AuditCursor
}

// AuditCursor is a place in an audit log: behind so many records, from its newest on, of
// a batch.
type AuditCursor string

const (
	auditPageBatches = 256
	auditLate        = time.Hour // a record waits no longer for the store, but where that is away
)

func cursorAt(t Tenant, key string, skip int) AuditCursor {
	return AuditCursor(strings.TrimSuffix(strings.TrimPrefix(key, auditPrefix(t)), suffix) + "+" + strconv.Itoa(skip))
}

// ParseAuditCursor reads a cursor that a page ended with.
func ParseAuditCursor(text string) (AuditCursor, error) {
	c := AuditCursor(text)
	if _, _, ok := c.place(""); !ok {
		return "", badName("cursor", text, "what an earlier page named as its next")
	}
	return c, nil
}

func (c AuditCursor) place(t Tenant) (key string, skip int, ok bool) {
	name, count, _ := strings.Cut(string(c), "+")
	key = auditPrefix(t) + name + suffix
	skip, err := strconv.Atoi(count)
	_, ours := locateAudit(t, key)
	return key, skip, ours && err == nil && skip >= 0 && count == strconv.Itoa(skip)
}

// admits tells whether a record is among those that are asked for.
func (q AuditQuery) admits(a AuditRecord) bool {
	return (q.Since.IsZero() || !a.At.Before(q.Since)) && (q.Until.IsZero() || a.At.Before(q.Until)) &&
		(q.Event == "" || q.Event == a.Event) && (q.Action == "" || q.Action == a.Action) &&
		(q.By == "" || q.By == a.By) && (q.Model == "" || q.Model == a.Model)
}

// Audit reads a page of an audit log. Records stand in the order in which their batches
// were stored: those of several nodes by these nodes' clocks.
func (r *Registry) Audit(ctx context.Context, q AuditQuery) (AuditPage, error) {
	page := AuditPage{Records: []AuditRecord{}}
	limit := pageLimit(q.Limit)
	o := blob.ListOptions{Prefix: auditPrefix(q.Tenant), Limit: 4 * sideBySide}
	if !q.Until.IsZero() {
		o.StartAfter = auditTime(q.Tenant, q.Until.Add(auditLate))
	}
	var first string
	var skip int
	if q.After != "" {
		var ok bool
		if first, skip, ok = q.After.place(q.Tenant); !ok {
			return page, badName("cursor", string(q.After), "what an earlier page named as its next")
		}
		o.StartAfter = first[:len(first)-1] // the batch itself is the next
	}
	for looked := 0; ; {
		listing, err := r.bucket.List(ctx, o)
		if err != nil {
			return page, fmt.Errorf("list the audit log: %w", err)
		}
		keys, over := q.wanted(listing.Objects)
		var behind AuditCursor // all of the listing
		for some := range slices.Chunk(keys, sideBySide) {
			batches, err := r.batches(ctx, q.Tenant, some)
			if err != nil {
				return page, fmt.Errorf("read the audit log: %w", err)
			}
			for i, b := range batches {
				if some[i] != first {
					skip = 0
				}
				if page.Next = page.take(q, some[i], b.Records, skip, limit); page.Next != "" {
					return page, nil
				}
				behind = cursorAt(q.Tenant, some[i], len(b.Records))
			}
		}
		looked += len(keys)
		if o.StartAfter = listing.Next; o.StartAfter == "" || over {
			return page, nil
		}
		if looked >= auditPageBatches && len(keys) > 0 {
			page.Next = behind
			return page, nil
		}
	}
}

// take adds the records of a batch but for the skip newest. It returns the place of the
// first that the page has no room for; "" where there is none.
func (p *AuditPage) take(q AuditQuery, key string, records []AuditRecord, skip, limit int) AuditCursor {
	slices.Reverse(records)
	for n, a := range records {
		if n < skip || !q.admits(a) {
			continue
		}
		if len(p.Records) == limit {
			return cursorAt(q.Tenant, key, n)
		}
		p.Records = append(p.Records, a)
	}
	return ""
}

// wanted are the keys of batches in a listing; over tells that all that follow are too old.
func (q AuditQuery) wanted(objects []blob.Object) (keys []string, over bool) {
	for _, o := range objects {
		b, ok := locateAudit(q.Tenant, o.Key)
		if !ok {
			continue // nothing of ours; check reports it
		}
		if b.at.Add(time.Millisecond).Before(q.Since) { // a batch is younger than its records
			return keys, true
		}
		keys = append(keys, o.Key)
	}
	return keys, false
}

// batches reads batches side by side.
func (r *Registry) batches(ctx context.Context, t Tenant, keys []string) ([]*auditBatch, error) {
	found := make([]*auditBatch, len(keys))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for i, key := range keys {
		g.Go(func() (err error) {
			id, _ := locateAudit(t, key)
			found[i], _, err = r.readBatch(gctx, key, id)
			return err
		})
	}
	return found, g.Wait()
}
