package registrytest

import (
	"errors"

	"modelbucket/registry"
)

// event holds one answer against what can have been true between call and answer.
func (w *witness) event(e *event) {
	if int(e.got) > len(w.all) {
		w.violated("found", "there is no such version: %s", e)
		return
	}
	absent := isOneOf(e.err, registry.ErrVersionNotFound, registry.ErrModelNotFound) && e.outcome == refused
	deleted := errors.Is(e.err, registry.ErrVersionDeleted) && e.outcome == refused
	switch e.kind {
	case opLatest:
		if e.outcome == done || absent {
			w.latest(e)
		}
	case opNumber, opRead, opVerify, opDescribe:
		switch {
		case e.outcome == done && e.kind == opRead && e.number == 0:
			w.latest(e)
			w.content1(e)
		case e.outcome == done && e.kind == opRead:
			w.present(e, e.got)
			w.content1(e)
		case e.outcome == done && e.got != 0:
			w.present(e, e.got)
		case absent && e.number != 0 && int(e.number) <= len(w.all) && w.known[e.number-1] < e.call:
			w.violated("found", "%s", e)
		case deleted && e.number != 0 && w.dying[e.number-1] > e.ret:
			w.violated("found", "nobody deletes it: %s", e)
		}
	case opDetect:
		w.detection(e)
	case opLabel:
		w.labelled(e, absent, deleted)
	case opList:
		w.list(e)
	case opDelete:
		w.deletion(e)
	case opDeleteModel:
		for i := range w.all {
			if e.outcome == done && w.known[i] < e.call && w.all[i].State != registry.StateDeleted {
				w.violated("deleted stays deleted", ":%d is there after %s", i+1, e)
			}
		}
	case opSetAlias:
		if e.outcome == done {
			w.present(e, e.number)
		}
	}
}

// present: the version was saved, and nobody had been told that it is deleted.
func (w *witness) present(e *event, n registry.Number) {
	if w.born[n-1] > e.ret {
		w.violated("found", "nobody saves it: %s", e)
	}
	if w.gone[n-1] < e.call {
		w.violated("deleted stays deleted", "%s", e)
	}
}

// latest: whatever is above the answer was not known, or somebody is deleting it.
func (w *witness) latest(e *event) {
	if e.got != 0 {
		w.present(e, e.got)
	}
	for i := int(e.got); i < len(w.all); i++ {
		if w.known[i] < e.call && w.dying[i] > e.ret {
			w.violated("latest", "it was :%d at least: %s", i+1, e)
			return
		}
	}
}

// detection: what was scored with was the right version when the node asked for it, and
// it was that version's bytes.
func (w *witness) detection(e *event) {
	if e.outcome != done {
		return
	}
	asked := *e
	asked.call = min(e.call, e.since)
	switch {
	case e.number != 0 && e.got != e.number:
		w.violated("found", "%s", e)
	case e.number != 0 || e.named:
		w.present(&asked, e.got)
	default:
		w.latest(&asked)
	}
	w.content1(e)
}

func (w *witness) content1(e *event) {
	if want, err := w.content(w.all[e.got-1]); err != nil || e.content != want {
		w.violated("content", "%q, want %q, %v: %s", e.content, want, err, e)
	}
}

func (w *witness) labelled(e *event, absent, deleted bool) {
	if e.outcome == done {
		w.present(e, e.got)
		if labelOf(w.all[e.got-1]) != e.label {
			w.violated("labels", "it is that of %q: %s", labelOf(w.all[e.got-1]), e)
		}
		return
	}
	dying := false
	for i, v := range w.all {
		if labelOf(v) != e.label {
			continue
		}
		dying = dying || w.dying[i] < e.ret
		if absent && w.known[i] < e.call {
			w.violated("found", "it is that of :%d: %s", i+1, e)
		}
	}
	if deleted && !dying {
		w.violated("found", "nobody deletes it: %s", e)
	}
}

func (w *witness) list(e *event) {
	if e.outcome != done {
		return
	}
	for i := range w.all {
		deleted, listed := e.listed[registry.Number(i+1)]
		switch {
		case listed && !deleted:
			w.present(e, registry.Number(i+1))
		case listed && w.dying[i] > e.ret:
			w.violated("list", "nobody deletes :%d: %s", i+1, e)
		case !listed && w.known[i] < e.call && (e.deleted || w.dying[i] > e.ret):
			w.violated("list", ":%d is not in it: %s", i+1, e)
		}
	}
	for n := range e.listed {
		if int(n) > len(w.all) {
			w.violated("list", "there is no :%d: %s", n, e)
		}
	}
}

func (w *witness) deletion(e *event) {
	if e.outcome != done {
		return
	}
	if v := w.all[e.got-1]; v.DeletedBy != e.id {
		w.violated("one deletion, one deleter", "%s was deleted by %q: %s", v.Ref(), v.DeletedBy, e)
	}
	if w.gone[e.got-1] < e.call {
		w.violated("deleted stays deleted", "%s", e)
	}
	if e.number != 0 && e.got != e.number {
		w.violated("found", "%s", e)
	}
	for _, alias := range []registry.Alias{"champion", "challenger"} {
		if c, named := w.named(alias, e); named {
			w.violated("in use", "@%s, revision %d, names it: %s", alias, c.revision, e)
		}
	}
}

// named tells whether an alias named the version throughout a request to delete it.
func (w *witness) named(alias registry.Alias, e *event) (change, bool) {
	h := w.aliasHistory(alias, w.final.aliases[aliasKey{w.s, alias}])
	for i, c := range h.changes {
		if c.version != e.got || h.known[i+1] > e.call {
			continue
		}
		if i+1 == len(h.changes) || h.call[i+2] > e.ret {
			return c, true
		}
	}
	return change{}, false
}

// tags: of each client the last that was acknowledged is there, or a later one of which
// it did not learn the outcome.
func (w *witness) tags() {
	type object struct {
		number registry.Number // 0: the model
		tag    string
	}
	allowed := map[object]map[string]bool{}
	for _, e := range w.history.events {
		o := object{e.number, e.tag}
		if e.s != w.s || e.kind != opDescribe && (e.kind != opModel || w.s == spam) {
			continue
		}
		// Deleted may mean: after it was changed.
		if e.outcome == refused && !errors.Is(e.err, registry.ErrVersionDeleted) {
			continue
		}
		if e.kind == opModel {
			o.number = 0
		}
		if e.outcome == done || allowed[o] == nil {
			allowed[o] = map[string]bool{"": e.outcome != done}
		}
		allowed[o][e.id] = true
	}
	for o, values := range allowed {
		tags := w.final.models[w.s].Tags
		if o.number != 0 {
			if int(o.number) > len(w.all) {
				continue
			}
			tags = w.all[o.number-1].Tags
			if w.all[o.number-1].RestoredFrom != nil && values[""] {
				continue // may be its source's
			}
		}
		if got := tags[o.tag]; !values[got] {
			w.violated("tags", "%s:%d has %s=%q, want one of %v", w.s, o.number, o.tag, got, values)
		}
	}
}

// damage: nothing in the bucket was damaged, so nobody was to be told that it is. Where
// the line gets a byte wrong, it is right when the same request reads it again.
func (r *run) damage() {
	for _, e := range r.history.events {
		if isOneOf(e.err, errDamage, registry.ErrCorrupt) {
			r.violated("damage", "%s", e)
		}
	}
}
