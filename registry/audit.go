package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"modelbucket/blob"
)

// The audit log says who changed what, and who tried to and was refused. Each change
// leaves two records: an intent, which is stored before the change is made, and its end.
// Where a node died between the two, the intent's id tells: what was changed carries it,
// and Check looks. Records of a tenant lie below the tenant, and those of no tenant in the
// system's folder, in batches that are never changed (see auditBatch).

// AuditEvent is what a record tells of.
type AuditEvent string

const (
	AuditIntent  AuditEvent = "intent"  // a change is about to be made
	AuditDone    AuditEvent = "done"    // it was made
	AuditFailed  AuditEvent = "failed"  // it was not
	AuditUnknown AuditEvent = "unknown" // it was made, or will be, or not
	AuditRefused AuditEvent = "refused" // somebody who may not tried to
)

// ParseAuditEvent reads the name of an event.
func ParseAuditEvent(s string) (AuditEvent, error) {
	switch e := AuditEvent(s); e {
	case AuditIntent, AuditDone, AuditFailed, AuditUnknown, AuditRefused:
		return e, nil
	}
	return "", badName("event", s, "there are intent, done, failed, unknown and refused")
}

// AuditAction is a kind of change.
type AuditAction string

const (
	AuditPublish       AuditAction = "version.publish" // trainings too
	AuditCopy          AuditAction = "version.copy"    // restores too
	AuditVersionUpdate AuditAction = "version.update"
	AuditVersionDelete AuditAction = "version.delete"
	AuditSign          AuditAction = "version.sign"
	AuditModelUpdate   AuditAction = "model.update"
	AuditModelDelete   AuditAction = "model.delete"
	AuditAliasSet      AuditAction = "alias.set"
	AuditAliasDelete   AuditAction = "alias.delete"
	AuditTenantUpdate  AuditAction = "tenant.update"
	AuditTenantDelete  AuditAction = "tenant.delete"
	AuditKeyCreate     AuditAction = "key.create"
	AuditKeyRevoke     AuditAction = "key.revoke"
)

// AuditRecord is one entry of the audit log. No record has a secret, a body or a
// description in it.
type AuditRecord struct {
	At      time.Time   `json:"at"` // by the node's clock
	Event   AuditEvent  `json:"event"`
	Action  AuditAction `json:"action,omitempty"` // refused: what the route is for
	ID      string      `json:"id"`               // of the change: its intent and its end share it
	By      string      `json:"by"`
	Request string      `json:"request"`
	Client  string      `json:"client,omitempty"` // address
	Tenant  Tenant      `json:"tenant,omitempty"`
	Named   Tenant      `json:"named,omitempty"` // refused: the tenant that the request named
	Model   Model       `json:"model,omitempty"`
	Version Number      `json:"version,omitempty"`
	Label   Label       `json:"label,omitempty"`
	Alias   Alias       `json:"alias,omitempty"`
	Aliases []Alias     `json:"aliases,omitempty"` // of a publish: set with it
	Key     KeyID       `json:"key,omitempty"`
	From    string      `json:"from,omitempty"`   // of a copy
	Code    string      `json:"code,omitempty"`   // why it failed or was refused
	Repeat  bool        `json:"repeat,omitempty"` // an earlier request had made the version
	Count   int         `json:"count,omitempty"`  // refused: how often within its minute
}

// audit is what the audit log says of a change to what a reference names.
func (r Ref) audit(action AuditAction) AuditRecord {
	s := r.Selector
	return AuditRecord{Action: action, Tenant: r.Tenant, Model: r.Model, Version: s.Number, Label: s.Label, Alias: s.Alias}
}

// Caller is on whose behalf a context's changes are made.
type Caller struct {
	Name    string // root, key:<id>, oidc:<subject>
	Request string // id of the request
	Client  string // address
	// Code names an error in the log.
	Code func(error) string
}

type callerKey struct{}

// WithCaller makes a context whose changes are written to the audit log. Those of other
// contexts are not: they are the program's own.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// maxAuditText bounds each text of a record that comes from outside, in bytes.
const maxAuditText = 256

func auditText(s string) string {
	s = HideTokens(s)
	if len(s) <= maxAuditText {
		return s
	}
	s = s[:maxAuditText]
	for !utf8.ValidString(s) && len(s) > maxAuditText-utf8.UTFMax {
		s = s[:len(s)-1]
	}
	return s
}

// plain is the record as it is kept: texts are bounded, and have no tokens in them.
func (a AuditRecord) plain() AuditRecord {
	for _, text := range []*string{&a.By, &a.Request, &a.Client, &a.From, &a.Code} {
		*text = auditText(*text)
	}
	a.Tenant, a.Named, a.Model = hidden(a.Tenant), hidden(a.Named), hidden(a.Model)
	a.Label, a.Alias, a.Aliases = hidden(a.Label), hidden(a.Alias), slices.Clone(a.Aliases)
	for i := range a.Aliases {
		a.Aliases[i] = hidden(a.Aliases[i])
	}
	return a
}

func hidden[T ~string](name T) T { return T(HideTokens(string(name))) }

// change is a change between its two records; nil where nobody asked for it.
type change struct {
	log    *auditLog
	caller Caller
	record AuditRecord
	intent *auditEntry
}

// intend writes the intent of a change by ctx's caller, and does not wait for it.
func (r *Registry) intend(ctx context.Context, what AuditRecord) *change {
	caller, ok := ctx.Value(callerKey{}).(Caller)
	if !ok {
		return nil
	}
	what.ID, what.Event, what.By, what.Request, what.Client = r.newID(), AuditIntent, caller.Name, caller.Request, caller.Client
	c := &change{log: r.audit, caller: caller, record: what}
	c.intent = r.audit.add(what, true)
	return c
}

// id is the nonce of the change; "" is none.
func (c *change) id() string {
	if c == nil {
		return ""
	}
	return c.record.ID
}

// begun returns when the intent is stored. Nothing may be changed before.
func (c *change) begun(ctx context.Context) error {
	if c == nil {
		return nil
	}
	err := c.intent.wait(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errUndecided), errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil: // of the log, not of the change
		return fmt.Errorf("%w: write the audit log: %v", blob.ErrUnavailable, err)
	}
	return fmt.Errorf("write the audit log: %w", err)
}

// end writes down what came of the change. Nobody waits for that.
func (c *change) end(err error) {
	if c == nil {
		return
	}
	switch {
	case err == nil, errors.Is(err, ErrSignatureRequired) && c.record.Action == AuditPublish && c.record.Version > 0:
		c.record.Event = AuditDone // in the latter case it is kept, and not served
	case errors.Is(err, ErrOutcomeUnknown):
		c.record.Event = AuditUnknown
	default:
		c.record.Event = AuditFailed
	}
	if err != nil && c.caller.Code != nil {
		c.record.Code = c.caller.Code(err)
	}
	c.log.add(c.record, false)
}

// audited makes a change between its two records. do gets the change, to carry its id
// into what it changes, and to add to its record what was not known before.
func audited[T any](ctx context.Context, r *Registry, what AuditRecord, do func(c *change) (T, error)) (result T, err error) {
	if err := r.writable(); err != nil {
		return result, err
	}
	c := r.intend(ctx, what)
	defer func() { c.end(err) }()
	if err := c.begun(ctx); err != nil {
		return result, err
	}
	err = ErrOutcomeUnknown // what a panic leaves
	return do(c)
}

// tell adds to the record of a change what came of it.
func (c *change) tell(add func(*AuditRecord)) {
	if c != nil {
		add(&c.record)
	}
}

// Refused writes down that somebody tried what he may not, as often as Count says. It is
// stored with what comes next, and nobody waits for that; a node that only reads stores
// nothing.
func (r *Registry) Refused(a AuditRecord) {
	if r.options.ReadOnly {
		return
	}
	a.Event, a.ID = AuditRefused, r.newID()
	r.audit.add(a, false)
}
