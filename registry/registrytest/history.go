package registrytest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"modelbucket/registry"
)

// series is a model of a tenant.
type series struct {
	tenant registry.Tenant
	model  registry.Model
}

func (s series) String() string { return string(s.tenant) + "/" + string(s.model) }

func (s series) ref(sel registry.Selector) registry.Ref {
	return registry.Ref{Tenant: s.tenant, Model: s.model, Selector: sel}
}

// outcome is what a client knows of its request.
type outcome string

const (
	done    outcome = "done"
	refused outcome = "refused" // certainly not done; of a read: nothing was learnt
	unknown outcome = "unknown"
)

// The operations of a history.
const (
	opPublish     = "publish"
	opLatest      = "latest"
	opNumber      = "resolve number"
	opLabel       = "resolve label"
	opAlias       = "resolve alias"
	opList        = "list"
	opRead        = "read"
	opVerify      = "verify"
	opAliasInfo   = "read alias"
	opSetAlias    = "set alias"
	opDropAlias   = "remove alias"
	opDelete      = "delete"
	opDeleteModel = "delete model"
	opDescribe    = "describe version"
	opModel       = "describe model"
	opBrowse      = "browse"
	opDetect      = "detect"
)

// event is one request as its client saw it. Call and ret are stamps from one counter.
type event struct {
	id   string // names the change in the bucket, as who made it
	by   int    // client
	kind string
	s    series

	call, ret int64
	since     int64 // detect: the answer may date from here
	outcome   outcome
	err       error

	save       *save           // publish
	number     registry.Number // asked for; 0: latest
	label      registry.Label
	alias      registry.Alias
	ifRevision *int64
	deleted    bool // list: with the deleted ones
	named      bool // detect: by an alias

	got      registry.Number
	revision int64
	listed   map[registry.Number]bool // number: deleted
	content  string
	tag      string // set to the event's id
}

func (e *event) String() string {
	s := fmt.Sprintf("[%d,%d] client %d %s %s %s", e.call, e.ret, e.by, e.id, e.kind, e.s)
	if e.number != 0 {
		s += fmt.Sprintf(" :%d", e.number)
	}
	if e.label != "" {
		s += fmt.Sprintf(" label %s", e.label)
	}
	if e.alias != "" {
		s += fmt.Sprintf(" @%s", e.alias)
	}
	if e.ifRevision != nil {
		s += fmt.Sprintf(" if %d", *e.ifRevision)
	}
	if e.save != nil && e.save.key != "" {
		s += " key " + e.save.key
	}
	s += " = " + string(e.outcome)
	if e.got != 0 {
		s += fmt.Sprintf(" :%d", e.got)
	}
	if e.revision != 0 {
		s += fmt.Sprintf(" revision %d", e.revision)
	}
	if e.listed != nil {
		s += fmt.Sprintf(" %v", e.listed)
	}
	if e.err != nil {
		s += fmt.Sprintf(" (%v)", e.err)
	}
	return s
}

// save is one version that somebody wants saved, in as many requests as it takes.
type save struct {
	id       string // CreatedBy of the version
	s        series
	label    registry.Label
	key      string
	given    bool // the key was chosen by the client
	aliases  []registry.Alias
	artifact Artifact
	from     *registry.Ref // copied from there; content is that of its source
	attempts []*event
	times    []time.Time
}

// history is all that the clients of a run were told.
type history struct {
	world *world

	mu     sync.Mutex
	events []*event
	saves  []*save
	tops   map[series]registry.Number
	seen   map[aliasKey]int64 // revisions
	keys   []*save            // with a key of their own, to be used again
}

type aliasKey struct {
	series
	alias registry.Alias
}

func newHistory(w *world) *history {
	return &history{world: w, tops: map[series]registry.Number{}, seen: map[aliasKey]int64{}}
}

func (h *history) begin(e *event) {
	h.mu.Lock()
	h.events = append(h.events, e)
	h.mu.Unlock()
	e.call = h.world.stamp()
}

// end writes down what became of an event on a node.
func (h *history) end(e *event, n *node, err error) {
	e.ret, e.err = h.world.stamp(), err
	switch {
	case n.killed(), errors.Is(err, registry.ErrOutcomeUnknown):
		e.outcome = unknown
	case err != nil:
		e.outcome = refused
	default:
		e.outcome = done
		h.mu.Lock()
		h.tops[e.s] = max(h.tops[e.s], e.got)
		h.mu.Unlock()
	}
}

func (h *history) top(s series) registry.Number {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tops[s]
}

// Violation is something that cannot have been true, and the check that says so.
type Violation struct{ Check, Detail string }

func (v Violation) String() string { return v.Check + ": " + v.Detail }
