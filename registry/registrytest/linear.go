package registrytest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"modelbucket/registry"
)

// Linearizability by search (Lowe, "Testing for linearizability", 2017, as porcupine
// does it): the witness check compares two times at a time, this one asks for one order
// of all. What a client did not learn is settled by what the bucket says in the end.

// searchAll looks for linearizations of all histories but that of the model which is
// deleted as a whole: that touches many versions at once.
func (r *run) searchAll(f *final) {
	byID := map[string]*save{}
	for _, v := range r.history.saves {
		byID[v.id] = v
	}
	for _, s := range []series{fraud, others} {
		w := &witness{run: r, final: f, byID: byID, facts: r.facts(f, s, byID)}
		r.search("linearizable versions", versionModel(), w.versionOperations())
		for _, alias := range []registry.Alias{"champion", "challenger"} {
			if all := f.aliases[aliasKey{s, alias}]; all != nil {
				r.search("linearizable aliases", aliasModel(), w.aliasOperations(alias, all))
			}
		}
	}
}

func (r *run) search(check string, model porcupine.Model, operations []porcupine.Operation) {
	if len(operations) == 0 {
		return
	}
	switch porcupine.CheckOperationsTimeout(model, operations, time.Minute) {
	case porcupine.Ok:
		r.searched++
	case porcupine.Unknown:
		r.violated(check, "no answer within a minute about %d operations", len(operations))
	default:
		r.violated(check, "no order of these:\n%s", describe(model, operations))
	}
}

func describe(model porcupine.Model, operations []porcupine.Operation) string {
	var b strings.Builder
	for _, o := range operations {
		fmt.Fprintf(&b, "[%d,%d] %s\n", o.Call, o.Return, model.DescribeOperation(o.Input, o.Output))
	}
	return b.String()
}

// step is one operation on the versions of a model.
type step struct {
	kind   string // publish, delete, latest, alive, deleted, absent
	number registry.Number
}

// log is the state: the highest number, and the deleted ones as ",3,5,".
type log struct {
	top     registry.Number
	deleted string
}

func (l log) isDeleted(n registry.Number) bool {
	return strings.Contains(l.deleted, fmt.Sprintf(",%d,", n))
}

func (l log) latest() registry.Number {
	for n := l.top; n > 0; n-- {
		if !l.isDeleted(n) {
			return n
		}
	}
	return 0
}

// bury keeps the deleted ones in order, so that equal states are equal strings.
func (l log) bury(n registry.Number) log {
	var b strings.Builder
	for i := registry.Number(1); i <= l.top; i++ {
		if i == n || l.isDeleted(i) {
			fmt.Fprintf(&b, "%d,", i)
		}
	}
	l.deleted = "," + b.String()
	return l
}

func versionModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return log{} },
		Step: func(state, input, _ any) (bool, any) {
			l, s := state.(log), input.(step)
			there := s.number <= l.top
			switch s.kind {
			case "publish":
				return s.number == l.top+1, log{s.number, l.deleted}
			case "delete":
				return there && !l.isDeleted(s.number), l.bury(s.number)
			case "latest":
				return s.number == l.latest(), l
			case "alive":
				return there && !l.isDeleted(s.number), l
			case "deleted":
				return there && l.isDeleted(s.number), l
			}
			return !there, l
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
	}
}

func (w *witness) versionOperations() []porcupine.Operation {
	var all []porcupine.Operation
	add := func(by int, call, ret int64, kind string, n registry.Number) {
		all = append(all, porcupine.Operation{ClientId: by, Input: step{kind, n}, Call: call, Return: ret})
	}
	for i, v := range w.facts.saves {
		n := registry.Number(i + 1)
		if v == nil {
			continue
		}
		ret := v.acknowledged()
		if !v.repeatedInTime() { // which of two versions was acknowledged is not told apart
			ret = never
		}
		add(v.attempts[0].by, v.attempts[0].call, ret, "publish", n)
		if w.all[i].DeletedBy == v.id {
			add(v.attempts[0].by, v.attempts[0].call, never, "delete", n)
		}
	}
	for _, e := range w.history.events {
		if e.s != w.s {
			continue
		}
		absent := e.outcome == refused && isOneOf(e.err, registry.ErrVersionNotFound, registry.ErrModelNotFound)
		deleted := e.outcome == refused && errors.Is(e.err, registry.ErrVersionDeleted)
		switch {
		case e.kind == opLatest && (e.outcome == done || absent):
			add(e.by, e.call, e.ret, "latest", e.got)
		case e.kind == opNumber && e.outcome == done:
			add(e.by, e.call, e.ret, "alive", e.number)
		case e.kind == opNumber && deleted:
			add(e.by, e.call, e.ret, "deleted", e.number)
		case e.kind == opNumber && absent:
			add(e.by, e.call, e.ret, "absent", e.number)
		case e.kind == opDelete && e.outcome == done:
			add(e.by, e.call, e.ret, "delete", e.got)
		case e.kind == opDelete && e.outcome == unknown:
			i := slices.IndexFunc(w.all, func(v *registry.Version) bool { return v.DeletedBy == e.id })
			if i >= 0 {
				add(e.by, e.call, never, "delete", registry.Number(i+1))
			}
		}
	}
	return all
}

// turn is one operation on an alias: a change that led to a revision, or a read of one.
type turn struct {
	kind     string // change, read, none
	revision int64
	version  registry.Number
	expected *int64
}

// place is the state of an alias.
type place struct {
	revision int64
	version  registry.Number
}

func (p place) shown() int64 {
	if p.version == 0 {
		return 0
	}
	return p.revision
}

func aliasModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return place{} },
		Step: func(state, input, _ any) (bool, any) {
			p, t := state.(place), input.(turn)
			switch t.kind {
			case "change":
				ok := t.revision == p.revision+1 && (t.expected == nil || *t.expected == p.shown())
				return ok, place{t.revision, t.version}
			case "read":
				return p == place{t.revision, t.version}, p
			case "refused":
				return *t.expected != p.shown(), p
			}
			return p.version == 0, p
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
	}
}

func (w *witness) aliasOperations(alias registry.Alias, changes []change) []porcupine.Operation {
	h := w.aliasHistory(alias, changes)
	byID := map[string]*event{}
	for _, e := range w.history.events {
		byID[e.id] = e
	}
	var all []porcupine.Operation
	add := func(call, ret int64, t turn) {
		all = append(all, porcupine.Operation{ClientId: len(all) % 64, Input: t, Call: call, Return: ret})
	}
	for i, c := range changes {
		t := turn{kind: "change", revision: c.revision, version: c.version}
		ret := int64(math.MaxInt64)
		if e := byID[c.by]; e != nil && e.kind != opPublish && !c.takenBack {
			t.expected = e.ifRevision
			if e.outcome == done {
				ret = e.ret
			}
		}
		if c.by != auditor {
			add(h.call[i+1], ret, t)
		}
	}
	for _, e := range w.history.events {
		if e.s != w.s || e.alias != alias || e.outcome == unknown {
			continue
		}
		switch {
		case e.kind == opAliasInfo && e.outcome == done:
			add(e.call, e.ret, turn{kind: "read", revision: e.revision, version: e.got})
		case e.kind == opAliasInfo && isOneOf(e.err, registry.ErrAliasNotFound, registry.ErrModelNotFound):
			add(e.call, e.ret, turn{kind: "none"})
		case e.ifRevision != nil && errors.Is(e.err, registry.ErrPrecondition):
			add(e.call, e.ret, turn{kind: "refused", expected: e.ifRevision})
		}
	}
	return all
}
