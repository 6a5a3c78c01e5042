package registrytest

import (
	"errors"
	"fmt"
	"time"

	"modelbucket/registry"
)

// The witness check needs no search: a version's number is its place in the order of
// saving, and an alias's revision that in the order of its changes. So only the times of
// calls and answers are to be compared. What it reports is wrong for certain.

// facts are what is known of the versions of one model, by number − 1, as stamps.
type facts struct {
	s     series
	all   []*registry.Version
	saves []*save // nil: the auditor's
	born  []int64 // call of the first request to save it
	known []int64 // when somebody had been told that it is there
	dying []int64 // call of the first request that may have deleted it; never: it is there
	gone  []int64 // when somebody had been told that it is deleted
}

func (r *run) witness(f *final) {
	byID := map[string]*save{}
	for _, v := range r.history.saves {
		byID[v.id] = v
	}
	for _, s := range []series{fraud, spam, others} {
		w := &witness{run: r, final: f, byID: byID, facts: r.facts(f, s, byID)}
		w.saves()
		w.keysAndLabels()
		for _, e := range r.history.events {
			if e.s == s {
				w.event(e)
			}
		}
		w.tags()
		for _, alias := range []registry.Alias{"champion", "challenger"} {
			w.alias(alias, f.aliases[aliasKey{s, alias}])
		}
	}
	r.damage()
}

// witness checks one model.
type witness struct {
	*run
	*facts
	final *final
	byID  map[string]*save
}

func (r *run) facts(f *final, s series, byID map[string]*save) *facts {
	all := f.versions[s]
	k := &facts{s: s, all: all}
	byEvent := map[string]*event{}
	firstModelDeletion := never
	for _, e := range r.history.events {
		byEvent[e.id] = e
		if e.kind == opDeleteModel && e.s == s && e.outcome != refused {
			firstModelDeletion = min(firstModelDeletion, e.call)
		}
	}
	for i, v := range all {
		k.saves = append(k.saves, byID[v.CreatedBy])
		k.known, k.gone = append(k.known, never), append(k.gone, never)
		born, dying := never, never
		if saved := k.saves[i]; saved != nil {
			born = saved.attempts[0].call
		} else if v.CreatedBy != auditor {
			r.violated("saves", "%s:%d was saved by %q, who did not", s, i+1, v.CreatedBy)
		}
		if v.State == registry.StateDeleted {
			dying = firstModelDeletion
			switch e := byEvent[v.DeletedBy]; {
			case v.DeletedBy == v.CreatedBy: // given up by its own publisher
				dying = min(dying, born)
			case e == nil || e.kind != opDelete && e.kind != opDeleteModel:
				r.violated("one deletion, one deleter", "%s:%d was deleted by %q, who did not", s, i+1, v.DeletedBy)
			case e.outcome == refused:
				r.violated("refused deletions are not done", "%s:%d was deleted by %s", s, i+1, e)
			default:
				dying = min(dying, e.call)
			}
		}
		k.born, k.dying = append(k.born, born), append(k.dying, dying)
	}
	for _, e := range r.history.events {
		if e.s == s {
			k.learn(e)
		}
	}
	return k
}

// learn notes what somebody was told by an answer.
func (k *facts) learn(e *event) {
	know := func(n registry.Number, deleted bool) {
		if n < 1 || int(n) > len(k.all) {
			return // event reports it
		}
		k.known[n-1] = min(k.known[n-1], e.ret)
		if deleted {
			k.gone[n-1] = min(k.gone[n-1], e.ret)
		}
	}
	switch {
	case e.kind == opNumber && errors.Is(e.err, registry.ErrVersionDeleted):
		know(e.number, true)
	case e.outcome != done:
	case e.kind == opDelete:
		know(e.got, true)
	case e.kind == opSetAlias:
		know(e.number, false)
	case e.kind == opAliasInfo: // may name a deleted one
	case e.kind == opDeleteModel:
		for i := range k.all {
			if k.known[i] < e.call { // earlier answers stand earlier in most histories: no more is needed
				k.gone[i] = min(k.gone[i], e.ret)
			}
		}
	case e.kind == opList:
		for n, deleted := range e.listed {
			know(n, deleted)
		}
	default:
		know(e.got, false)
	}
}

// saves: each acknowledged one is there, whole and once, in the order of saving; each
// refused one is not.
func (w *witness) saves() {
	numbers := map[*save][]registry.Number{}
	for i, v := range w.facts.saves {
		if v != nil {
			numbers[v] = append(numbers[v], registry.Number(i+1))
		}
	}
	for _, v := range w.history.saves {
		if v.s != w.s {
			continue
		}
		if len(numbers[v]) > 1 && v.repeatedInTime() {
			w.violated("one save, one version", "%s of %s is there as %v", v.id, v.s, numbers[v])
		}
		w.attempts(v, numbers[v])
	}
	for i, a := range w.facts.saves {
		if a == nil || !a.repeatedInTime() {
			continue // may be there twice
		}
		for j, b := range w.facts.saves[:i] { // b has the lower number
			if b != nil && a.acknowledged() < w.born[j] {
				w.violated("order of saving", "%s:%d was acknowledged before :%d was begun", w.s, i+1, j+1)
			}
		}
	}
}

// acknowledged is when somebody was told that it is saved.
func (v *save) acknowledged() int64 {
	first := never
	for _, e := range v.attempts {
		if e.outcome == done {
			first = min(first, e.ret)
		}
	}
	return first
}

// keyLife is less than the time for which keys are remembered.
const keyLife = 7*24*time.Hour - 2*time.Hour

func (v *save) repeatedInTime() bool { return v.times[len(v.times)-1].Sub(v.times[0]) < keyLife }

func (w *witness) attempts(v *save, numbers []registry.Number) {
	allRefused := true
	for _, e := range v.attempts {
		switch {
		case e.outcome == done:
			w.acknowledgedSave(v, e)
			allRefused = false
		case e.outcome == unknown, errors.Is(e.err, registry.ErrVersionDeleted):
			allRefused = false
		case errors.Is(e.err, registry.ErrIdempotencyMismatch) && !w.keyUsedBefore(v, e):
			w.violated("one key, one version", "nobody else used the key: %s", e)
		case errors.Is(e.err, registry.ErrLabelTaken) && !w.labelTakenBefore(v, e):
			w.violated("labels", "nobody else has the label: %s", e)
		}
	}
	if !allRefused {
		return
	}
	for _, n := range numbers {
		if got := w.all[n-1]; got.DeletedBy != v.id {
			w.violated("refused saves are not there", "%s:%d was refused to %s", w.s, n, v.attempts[0])
		}
	}
}

func (w *witness) acknowledgedSave(v *save, e *event) {
	if e.got < 1 || int(e.got) > len(w.all) {
		w.violated("acknowledged saves are there", "%s", e)
		return
	}
	got := w.all[e.got-1]
	if got.CreatedBy != v.id {
		w.violated("acknowledged saves are there", "%s is that of %s: %s", got.Ref(), got.CreatedBy, e)
	}
	if label := labelOf(got); label != v.label {
		w.violated("labels", "%s has label %q: %s", got.Ref(), label, e)
	}
}

func labelOf(v *registry.Version) registry.Label {
	if v.Label == nil {
		return ""
	}
	return *v.Label
}

func (w *witness) keyUsedBefore(v *save, e *event) bool {
	for _, o := range w.history.saves {
		if o != v && o.s == v.s && o.key == v.key && o.attempts[0].call < e.ret {
			return true
		}
	}
	return false
}

func (w *witness) labelTakenBefore(v *save, e *event) bool {
	for i, o := range w.facts.saves {
		if o != v && labelOf(w.all[i]) == v.label && w.born[i] < e.ret {
			return true
		}
	}
	return false
}

// keysAndLabels: each names one version at most; and each version has the bytes that
// were saved.
func (w *witness) keysAndLabels() {
	labels, keys := map[registry.Label]int{}, map[string]int{}
	for i, v := range w.all {
		if label := labelOf(v); label != "" {
			if labels[label]++; labels[label] > 1 {
				w.violated("labels", "%s has %q twice, last as :%d", w.s, label, i+1)
			}
		}
		if saved := w.facts.saves[i]; saved != nil && saved.key != "" && w.keyInTime(saved) {
			if keys[saved.key]++; keys[saved.key] > 1 {
				w.violated("one key, one version", "%s has %q twice, last as :%d", w.s, saved.key, i+1)
			}
		}
		if got, alive := w.final.contents[w.s][v.Version]; alive && v.CreatedBy != auditor {
			if want, err := w.content(v); err != nil || got != want {
				w.violated("content", "%s has %q, want %q, %v", v.Ref(), got, want, err)
			}
		}
	}
}

func (w *witness) keyInTime(v *save) bool {
	first, last := v.times[0], v.times[len(v.times)-1]
	for _, o := range w.history.saves {
		if o.s != v.s || o.key != v.key {
			continue
		}
		if o.times[0].Before(first) {
			first = o.times[0]
		}
		if end := o.times[len(o.times)-1]; end.After(last) {
			last = end
		}
	}
	return last.Sub(first) < keyLife
}

// content is what a version should hold.
func (w *witness) content(v *registry.Version) (string, error) {
	for copies := 0; v.RestoredFrom != nil; copies++ {
		ref, err := registry.ParseRef(*v.RestoredFrom)
		if err != nil {
			return "", err
		}
		source := w.final.versions[series{ref.Tenant, ref.Model}]
		if n := int(ref.Selector.Number); n < 1 || n > len(source) {
			return "", fmt.Errorf("%s is a copy of %s, which is not there", v.Ref(), ref)
		}
		if copies > len(w.byID) {
			return "", fmt.Errorf("%s is a copy of itself", v.Ref())
		}
		v = source[ref.Selector.Number-1]
	}
	if v.CreatedBy == auditor {
		return auditor, nil
	}
	saved := w.byID[v.CreatedBy]
	if saved == nil {
		return "", fmt.Errorf("%s was saved by nobody", v.Ref())
	}
	return saved.artifact.Content, nil
}
