package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"
	"time"

	"modelbucket/registry"
)

type logPage struct {
	Records []registry.AuditRecord `json:"records"`
	Next    string                 `json:"next"`
}

// Log reads the audit log of q.Tenant, or where that is empty of what belongs to none, the
// newest records first. q.Limit is how many come with one request (0: 1000); q.After
// counts for nothing.
func (c *Client) Log(ctx context.Context, q registry.AuditQuery) iter.Seq2[registry.AuditRecord, error] {
	where := path("v1", "log")
	if q.Tenant != "" {
		where = tenantPath(q.Tenant, "log")
	}
	values := url.Values{"limit": {"1000"}}
	if q.Limit > 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	for name, text := range map[string]string{"event": string(q.Event), "action": string(q.Action), "by": q.By, "model": string(q.Model)} {
		if text != "" {
			values.Set(name, text)
		}
	}
	for name, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			values.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return pages(ctx, c, where, values, func(p *logPage) ([]registry.AuditRecord, string) { return p.Records, p.Next })
}
