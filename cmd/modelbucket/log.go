package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"modelbucket/registry"
)

type logCommand struct {
	What   string `arg:"" optional:"" placeholder:"TENANT[/MODEL]" help:"A tenant, or one of its models. Without: what belongs to no tenant, such as keys for all, and tokens that nobody has."`
	Since  *past  `placeholder:"WHEN" help:"Not before: 7d, 12h, or a date such as 2026-11-01."`
	Until  *past  `placeholder:"WHEN" help:"Before: the same."`
	By     string `placeholder:"NAME" help:"Only this caller's: root, key:ID or oidc:SUBJECT."`
	Action string `placeholder:"ACTION" help:"Only this, such as alias.set."`
	Event  string `placeholder:"EVENT" help:"Only done, failed, unknown or refused; or intent: changes that were begun, whatever came of them."`
	howMany
}

// Run tells who changed what, the newest first.
func (c logCommand) Run(ctx context.Context, p *program) error {
	most, err := c.most()
	if err != nil {
		return err
	}
	q := registry.AuditQuery{Since: c.Since.at(), Until: c.Until.at(), By: c.By, Action: registry.AuditAction(c.Action), Event: registry.AuditEvent(c.Event)}
	if q.Tenant, q.Model, err = parseScope(c.What); err != nil {
		return err
	}
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	all := api.Log(ctx, q)
	if q.Event == "" {
		all = ends(all)
	}
	records, more, err := take(all, most)
	if err != nil {
		return err
	}
	t := table{header: []string{"TIME", "BY", "ACTION", "WHAT", "EVENT", "CODE", "CLIENT", "REQUEST"}}
	for _, a := range records {
		event := string(a.Event)
		switch {
		case a.Event == registry.AuditIntent && q.Event == "":
			event = "open"
		case a.Count > 1:
			event = fmt.Sprintf("%s %d times", event, a.Count)
		}
		t.add(a.At.UTC().Format(time.RFC3339), orElse(a.By, "nobody"), orDash(string(a.Action)), orDash(subject(a)), event, orDash(a.Code), orDash(a.Client), a.Request)
	}
	return p.result(records, "records", more, t, 7)
}

// ends leaves out the intents of changes whose end is there: it comes before them.
func ends(all iter.Seq2[registry.AuditRecord, error]) iter.Seq2[registry.AuditRecord, error] {
	return func(yield func(registry.AuditRecord, error) bool) {
		ended := map[string]bool{}
		for a, err := range all {
			switch {
			case err != nil:
			case a.Event == registry.AuditIntent && ended[a.ID]:
				delete(ended, a.ID)
				continue
			case a.Event != registry.AuditIntent && a.Event != registry.AuditRefused:
				ended[a.ID] = true
			}
			if !yield(a, err) {
				return
			}
		}
	}
}

// subject is what a record is about: of an attempt at another tenant's, that one.
func subject(a registry.AuditRecord) string {
	var s strings.Builder
	s.WriteString(orElse(string(a.Named), string(a.Tenant)))
	if a.Model != "" {
		s.WriteString("/" + string(a.Model))
	}
	switch {
	case a.Alias != "" && a.Version != 0:
		fmt.Fprintf(&s, "@%s to %s", a.Alias, a.Version)
	case a.Alias != "":
		s.WriteString("@" + string(a.Alias))
	case a.Version != 0:
		s.WriteString(":" + a.Version.String())
	case a.Label != "":
		s.WriteString(":" + string(a.Label))
	}
	if a.Key != "" {
		s.WriteString(" key " + string(a.Key))
	}
	if a.From != "" {
		s.WriteString(" of " + a.From)
	}
	if len(a.Aliases) > 0 {
		s.WriteString(" as " + joined(a.Aliases))
	}
	if a.Repeat {
		s.WriteString(" (a repeat)")
	}
	return strings.TrimSpace(s.String())
}

// past is a moment that is over: so long ago, or a date.
type past time.Time

func (m *past) at() time.Time {
	if m == nil {
		return time.Time{}
	}
	return time.Time(*m)
}

func (m *past) UnmarshalText(b []byte) error {
	t, err := moment(string(b), -1)
	if err != nil {
		return errors.New("a moment is a number of days or hours ago (7d, 12h), or a date (2026-11-01)")
	}
	*m = past(t)
	return nil
}
