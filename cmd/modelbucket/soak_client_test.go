package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"modelbucket/registry"
	"modelbucket/web/client"
)

// work is one client: it does this and that, and compares each answer with what was
// acknowledged to anybody before it asked.
func (w *world) work(ctx context.Context, t *testing.T, writer int, seed uint64) {
	random := rand.New(rand.NewPCG(seed, uint64(writer)+1))
	for i := 0; !w.stopping.Load() && ctx.Err() == nil; i++ {
		model := registry.Model(fmt.Sprintf("m%d", random.IntN(soakModels)))
		var err error
		switch n := random.IntN(100); {
		case n < 35:
			err = w.save(ctx, random, model, fmt.Sprintf("save %d of writer %d", i, writer))
		case n < 60:
			err = w.latest(ctx, random, model)
		case n < 75:
			err = w.pull(ctx, random)
		case n < 87:
			err = w.move(ctx, random, model)
		case n < 93:
			err = w.resolve(ctx, random, model)
		case n < 96:
			err = w.ask(ctx, random, func(ctx context.Context, c *client.Client) error { return detect(ctx, c, "acme") })
		default:
			err = w.remove(ctx, random)
		}
		if err != nil && ctx.Err() == nil {
			t.Errorf("writer %d: %v", writer, err)
			return
		}
	}
}

// known is the highest acknowledged number of a model.
func (w *world) known(m registry.Model) registry.Number {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.top[m]
}

// save saves once, however often it has to ask; and now and then asks once more.
func (w *world) save(ctx context.Context, random *rand.Rand, m registry.Model, key string) error {
	before := w.known(m)
	var v *registry.Version
	publish := func(ctx context.Context, c *client.Client) (err error) {
		v, err = c.Publish(ctx, client.Publication{Tenant: "acme", Model: m, Key: key}, file("a", key))
		return err
	}
	if err := w.ask(ctx, random, publish); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	n := v.Version
	if n <= before {
		w.collisions.Add(1)
		return fmt.Errorf("%s is %s:%d, and %d was acknowledged before it was sent", key, m, n, before)
	}
	if random.IntN(4) == 0 {
		w.repeats.Add(1)
		if err := w.ask(ctx, random, publish); err != nil || v.Version != n {
			w.collisions.Add(1)
			return fmt.Errorf("%s was %d; repeated, it is %d, %v", key, n, v.Version, err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := entry{m, n, key}
	if other := w.owner[s.ref().String()]; other != "" {
		w.collisions.Add(1)
		return fmt.Errorf("%s was given to %s and to %s", s.ref(), other, key)
	}
	w.owner[s.ref().String()] = key
	w.top[m] = max(w.top[m], n)
	w.saves = append(w.saves, s)
	return nil
}

// latest may be newer than what was acknowledged, and not older: none of the newest five
// is ever deleted.
func (w *world) latest(ctx context.Context, random *rand.Rand, m registry.Model) error {
	before := w.known(m)
	var v *registry.Version
	err := w.ask(ctx, random, func(ctx context.Context, c *client.Client) (err error) {
		v, err = c.Version(ctx, registry.Ref{Tenant: "acme", Model: m})
		return err
	})
	switch {
	case before == 0 && (endOf(err) == "model_not_found" || endOf(err) == "tenant_not_found" || endOf(err) == "version_not_found"):
		return nil
	case err != nil:
		return fmt.Errorf("latest of %s: %w", m, err)
	case v.Version < before:
		return fmt.Errorf("latest of %s is %d, and %d was acknowledged before", m, v.Version, before)
	}
	return nil
}

// any is a version that was acknowledged, not among the newest five of its model if old
// is set.
func (w *world) any(random *rand.Rand, old bool) (s entry, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.saves) == 0 {
		return entry{}, false
	}
	s = w.saves[random.IntN(len(w.saves))]
	return s, !w.gone[s.ref().String()] && (!old || s.number+5 < w.top[s.model])
}

func (w *world) pull(ctx context.Context, random *rand.Rand) error {
	s, ok := w.any(random, false)
	if !ok {
		return nil
	}
	var content string
	err := w.ask(ctx, random, func(ctx context.Context, c *client.Client) (err error) {
		content, err = read(ctx, c, s.ref())
		return err
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.gone[s.ref().String()] && endOf(err) == "version_deleted":
	case err != nil || content != s.key:
		w.lost.Add(1)
		return fmt.Errorf("pull %s: got %q, %v, want %q", s.ref(), content, err, s.key)
	}
	return nil
}

// move moves an alias to one of the newest versions. Each move has a revision of its own.
func (w *world) move(ctx context.Context, random *rand.Rand, m registry.Model) error {
	to := w.known(m)
	if to == 0 {
		return nil
	}
	w.mu.Lock()
	before := w.alias[m]
	w.mu.Unlock()
	var info *registry.AliasInfo
	err := w.ask(ctx, random, func(ctx context.Context, c *client.Client) (err error) {
		info, err = c.SetAlias(ctx, "acme", m, "champion", registry.AliasChange{To: to})
		return err
	})
	if end := endOf(err); end == "conflict" || end == "version_deleted" { // others move it, or time has gone over the version
		return nil
	}
	if err != nil {
		return fmt.Errorf("alias of %s to %d: %w", m, to, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	change := fmt.Sprintf("%s %d", m, info.Revision)
	if info.Revision <= before || w.moved[change] {
		w.collisions.Add(1)
		return fmt.Errorf("the alias of %s has revision %d (another's: %v), and had %d before", m, info.Revision, w.moved[change], before)
	}
	w.moved[change] = true
	w.alias[m] = max(w.alias[m], info.Revision)
	return nil
}

func (w *world) resolve(ctx context.Context, random *rand.Rand, m registry.Model) error {
	w.mu.Lock()
	before := w.alias[m]
	w.mu.Unlock()
	var info *registry.AliasInfo
	err := w.ask(ctx, random, func(ctx context.Context, c *client.Client) (err error) {
		info, err = c.Alias(ctx, "acme", m, "champion")
		return err
	})
	switch {
	case before == 0 && err != nil && endOf(err) != errWrong.Error():
		return nil
	case err != nil:
		return fmt.Errorf("alias of %s: %w", m, err)
	case info.Revision < before:
		return fmt.Errorf("the alias of %s has revision %d, and %d was acknowledged before", m, info.Revision, before)
	}
	return nil
}

// remove deletes an old version, unless an alias names it.
func (w *world) remove(ctx context.Context, random *rand.Rand) error {
	s, ok := w.any(random, true)
	if !ok {
		return nil
	}
	w.mu.Lock()
	w.gone[s.ref().String()] = true
	w.mu.Unlock()
	err := w.ask(ctx, random, func(ctx context.Context, c *client.Client) error {
		_, err := c.DeleteVersion(ctx, s.ref(), registry.Deletion{})
		return err
	})
	switch endOf(err) {
	case endOK, "version_deleted":
		w.mu.Lock()
		w.closed[s.ref().String()] = true
		w.mu.Unlock()
	case "alias_in_use":
	default:
		return fmt.Errorf("delete %s: %w", s.ref(), err)
	}
	return nil
}
