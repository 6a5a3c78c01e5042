package registrytest

import (
	"errors"

	"modelbucket/registry"
)

// aliasHistory is what is known of the states of one alias. State 0 is that there is
// none yet; state i is changes[i−1].
type aliasHistory struct {
	changes []change
	call    []int64 // of the request that made it; by state
	known   []int64 // when somebody had been told of this state or a later one
}

func (w *witness) aliasHistory(alias registry.Alias, all []change) aliasHistory {
	h := aliasHistory{changes: all, call: make([]int64, len(all)+1), known: make([]int64, len(all)+1)}
	calls := map[string]int64{auditor: never}
	for _, e := range w.history.events {
		if e.s == w.s && (e.alias == alias || e.kind == opPublish) {
			if _, ok := calls[e.id]; !ok {
				calls[e.id] = e.call
			}
		}
	}
	for i := range h.known {
		h.known[i] = never
	}
	h.known[0] = 0
	for i, c := range all {
		if h.call[i+1] = calls[c.by]; c.takenBack { // by a setter or a collector, after that
			h.call[i+1] = h.call[i]
		}
	}
	for _, e := range w.history.events {
		if e.s == w.s && e.alias == alias && e.outcome == done && e.revision > 0 && int(e.revision) < len(h.known) {
			h.known[e.revision] = min(h.known[e.revision], e.ret)
		}
	}
	for i := len(h.known) - 2; i > 0; i-- {
		h.known[i] = min(h.known[i], h.known[i+1])
	}
	return h
}

// state is the version and the revision that readers are shown in a state.
func (h aliasHistory) state(i int) (registry.Number, int64) {
	if i == 0 || h.changes[i-1].version == 0 {
		return 0, 0
	}
	return h.changes[i-1].version, h.changes[i-1].revision
}

// within are the states that may have been the present one during a request.
func (h aliasHistory) within(e *event) (from, to int) {
	for i := range h.known {
		if h.known[i] < e.call {
			from = i
		}
		if h.call[i] < e.ret {
			to = i
		}
	}
	return from, max(from, to)
}

func (w *witness) alias(alias registry.Alias, all []change) {
	if all == nil {
		return // so many changes that the first are forgotten
	}
	h := w.aliasHistory(alias, all)
	w.aliasOrder(alias, h)
	for _, e := range w.history.events {
		if e.s != w.s || e.alias != alias {
			continue
		}
		switch e.kind {
		case opSetAlias, opDropAlias:
			w.aliasChange(h, e)
		case opAliasInfo, opAlias:
			w.aliasRead(h, e)
		}
	}
}

// aliasOrder: each request changes an alias once at most, in an order that agrees with
// the times of calls and answers.
func (w *witness) aliasOrder(alias registry.Alias, h aliasHistory) {
	made := map[string]bool{}
	for i, c := range h.changes {
		if c.revision != int64(i+1) {
			w.violated("alias order", "%s@%s: revision %d stands at %d", w.s, alias, c.revision, i+1)
		}
		if c.takenBack || c.by == auditor {
			continue
		}
		if saved := w.byID[c.by]; made[c.by] && (saved == nil || saved.repeatedInTime()) {
			w.violated("each change once", "%s@%s: %s is there twice", w.s, alias, c.by)
		}
		made[c.by] = true
		if h.call[i+1] == 0 {
			w.violated("alias order", "%s@%s: revision %d is by %q, who did not change it", w.s, alias, i+1, c.by)
		}
		if h.known[i+1] < h.call[i+1] {
			w.violated("alias order", "%s@%s: revision %d was known before %s asked for it", w.s, alias, i+1, c.by)
		}
		for j := range h.changes[:i] {
			if h.known[i+1] < h.call[j+1] {
				w.violated("alias order", "%s@%s: revision %d was known before %d was asked for", w.s, alias, i+1, j+1)
			}
		}
	}
}

func (w *witness) aliasChange(h aliasHistory, e *event) {
	at := 0
	for i, c := range h.changes {
		if c.by == e.id && !c.takenBack {
			at = i + 1
		}
	}
	switch {
	case e.outcome == done && (at == 0 || int64(at) != e.revision || h.changes[at-1].version != e.number):
		w.violated("acknowledged changes are there", "it is revision %d: %s", at, e)
		return
	case e.outcome == refused && at != 0 && !errors.Is(e.err, registry.ErrVersionDeleted):
		w.violated("refused changes are not there", "it is revision %d: %s", at, e)
	}
	if at != 0 && e.ifRevision != nil {
		if _, revision := h.state(at - 1); revision != *e.ifRevision {
			w.violated("expectation", "it follows revision %d: %s", revision, e)
		}
	}
	if e.outcome == refused && errors.Is(e.err, registry.ErrPrecondition) && e.ifRevision != nil {
		from, to := h.within(e)
		for i := from; i <= to; i++ {
			if _, revision := h.state(i); revision != *e.ifRevision {
				return
			}
		}
		w.violated("expectation", "it holds throughout: %s", e)
	}
}

func (w *witness) aliasRead(h aliasHistory, e *event) {
	none := isOneOf(e.err, registry.ErrAliasNotFound, registry.ErrModelNotFound) && e.outcome == refused
	deleted := errors.Is(e.err, registry.ErrVersionDeleted) && e.outcome == refused
	if e.outcome != done && !none && !deleted {
		return
	}
	from, to := h.within(e)
	for i := from; i <= to; i++ {
		version, revision := h.state(i)
		switch {
		case none && version == 0,
			deleted && version != 0 && w.dying[version-1] < e.ret,
			e.kind == opAlias && e.outcome == done && version == e.got && version != 0,
			e.kind == opAliasInfo && e.outcome == done && version == e.got && revision == e.revision:
			return
		}
	}
	w.violated("alias reads", "it is at revision %d to %d: %s", from, to, e)
}
