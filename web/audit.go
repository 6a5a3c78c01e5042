package web

import (
	"cmp"
	"net/http"
	"sync"
	"time"

	"modelbucket/registry"
)

// changes tells whether a route's requests change what lies in the store. What they change
// is written to the audit log, and so are attempts at it by who may not.
func (r Route) changes() bool {
	if r.Method == http.MethodGet {
		return false
	}
	switch r.Permission {
	case Public, Detect, Warm, FileVerify:
		return false
	}
	return true
}

// onBehalf has what the request changes written to the audit log.
func (c *call) onBehalf() {
	caller := registry.Caller{Name: c.who.Name, Request: c.w.id, Code: func(err error) string { return ProblemOf(err).Code }}
	if c.w.client.IsValid() {
		caller.Client = c.w.client.String()
	}
	c.r = c.r.WithContext(registry.WithCaller(c.r.Context(), caller))
}

const (
	refusalTime  = time.Minute // refusals alike are one record, with their number
	refusalKinds = 20          // records of one caller in that time; all that follow are one more
	refusalMost  = 10_000      // records of all callers in that time; all that follow are one more
)

// refusal is what refusals that are alike have in common.
type refusal struct {
	by, client string
	tenant     registry.Tenant // that it is told of: the caller's own
	named      registry.Tenant // that the request named
	model      registry.Model
	permission Permission
	code       string
}

// refused counts attempts at changes by who may not make them. They cost no call of the
// store, and so nobody learns from their time what is there.
type refused struct {
	registry *registry.Registry

	mu      sync.Mutex // guards all below
	counted map[refusal]*registry.AuditRecord
	kinds   map[string]int // by caller
	timer   *time.Timer
}

func newRefused(r *registry.Registry) *refused {
	return &refused{registry: r, counted: map[refusal]*registry.AuditRecord{}, kinds: map[string]int{}}
}

// note counts a request if its error is such a refusal.
func (s *refused) note(c *call, route Route, err error) {
	if err == nil || !route.changes() {
		return
	}
	kind := refusal{
		by: c.who.Name, tenant: c.who.only(), named: c.tenant, model: c.model, permission: route.Permission, code: ProblemOf(err).Code,
	}
	switch kind.code {
	case codeUnauthenticated, codeForbidden:
	case codeTenantNotFound:
		if c.who.belongs(c.tenant) {
			return // it is not there for anybody
		}
	default:
		return
	}
	if c.w.client.IsValid() {
		kind.client = c.w.client.String()
	}
	caller := cmp.Or(kind.by, network(c.w.client).String())
	if kind.by == "" {
		kind.client = network(c.w.client).String() // who changes his address within it is still one
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counted[kind] == nil {
		switch s.kinds[caller]++; {
		case len(s.counted) >= refusalMost:
			kind = refusal{}
		case s.kinds[caller] > refusalKinds:
			kind = refusal{by: kind.by, client: kind.client, tenant: kind.tenant}
		}
	}
	a := s.counted[kind]
	if a == nil {
		a = &registry.AuditRecord{
			By: kind.by, Request: c.w.id, Client: kind.client, Tenant: kind.tenant, Named: kind.named, Model: kind.model,
			Action: registry.AuditAction(kind.permission), Code: kind.code,
		}
		s.counted[kind] = a
	}
	a.Count++
	if s.timer == nil {
		s.timer = time.AfterFunc(refusalTime, s.write)
	}
}

// write hands on what was counted.
func (s *refused) write() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.counted {
		s.registry.Refused(*a)
	}
	clear(s.counted)
	clear(s.kinds)
	s.timer = nil
}

// close writes what was counted so far.
func (s *refused) close() {
	s.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.write()
}

// showLog is a page of the audit log of the tenant in the path, or of that of none.
func (s *Server) showLog(c *call) error {
	q, err := c.query("limit", "after", "since", "until", "event", "action", "by", "model")
	if err != nil {
		return err
	}
	want := registry.AuditQuery{
		Tenant: c.tenant, Action: registry.AuditAction(q.Get("action")), By: q.Get("by"),
	}
	if want.Event, err = optional(q.Get("event"), registry.ParseAuditEvent); err != nil {
		return err
	}
	if want.Limit, err = q.limit(); err != nil {
		return err
	}
	if want.After, err = optional(q.Get("after"), registry.ParseAuditCursor); err != nil {
		return err
	}
	if want.Model, err = optional(q.Get("model"), registry.ParseModel); err != nil {
		return err
	}
	if want.Since, err = q.moment("since"); err != nil {
		return err
	}
	if want.Until, err = q.moment("until"); err != nil {
		return err
	}
	page, err := s.registry.Audit(c.r.Context(), want)
	if err != nil {
		return err
	}
	answer := struct {
		Records []registry.AuditRecord `json:"records"`
		Next    string                 `json:"next,omitempty"`
	}{Records: page.Records}
	if page.Next != "" {
		answer.Next = c.next(q, "after", string(page.Next))
	}
	return c.json(http.StatusOK, answer)
}

// moment reads a time; the zero time where there is none.
func (q query) moment(name string) (time.Time, error) {
	if !q.Has(name) {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, q.Get(name))
	if err != nil {
		return time.Time{}, problemf(codeBadRequest, "%s is %s", name, shown(q.Get(name))).hint("write a moment as 2026-11-25T14:30:00Z")
	}
	return t, nil
}
