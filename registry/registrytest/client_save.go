package registrytest

import (
	"context"
	"errors"
	"strings"
	"time"

	"modelbucket/registry"
)

// publish saves a version, with a label, a key and aliases at times, and repeats it on
// other nodes while it does not know what became of it.
func (c *client) publish(n *node, s series) {
	v := &save{s: s}
	e := c.publishing(v)
	v.id = e.id
	v.artifact = Artifact{Name: "file-0", Content: strings.Repeat("content of "+v.id+" ", 1+c.random.IntN(3))}
	if c.artifact != nil {
		v.artifact = c.artifact(v.id)
	}
	if c.coin(0.35) {
		v.label = c.label()
	}
	if c.coin(0.4) {
		v.key, v.given = "key of "+v.id, true
	}
	if c.coin(0.15) {
		v.aliases = append(v.aliases, c.alias())
	}
	c.keep(v)
	c.persist(v, e, n)
}

func (c *client) keep(v *save) {
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	c.history.saves = append(c.history.saves, v)
	if v.given {
		c.history.keys = append(c.history.keys, v)
	}
}

// publishing begins a request for a save.
func (c *client) publishing(v *save) *event {
	e := c.event(opPublish, v.s)
	e.save = v
	return e
}

// persist makes the request and repeats it, though not for ever.
func (c *client) persist(v *save, e *event, n *node) {
	for try := 0; ; try++ {
		e.label = v.label
		c.history.mu.Lock()
		v.attempts, v.times = append(v.attempts, e), append(v.times, time.Now())
		c.history.mu.Unlock()
		c.attempt(v, e, n)
		if unknown, ok := errors.AsType[*registry.OutcomeUnknown](e.err); ok && v.key == "" && !n.killed() {
			v.key = unknown.Key
		}
		if try == 3 || v.key == "" || e.outcome == refused && try == 0 || e.outcome == done || c.coin(0.1) {
			return
		}
		c.think()
		n, e = c.pick(c.random), c.publishing(v)
	}
}

// repeat uses the key of an earlier save again, now and then with other content.
func (c *client) repeat(n *node, s series) {
	c.history.mu.Lock()
	var v *save
	if k := len(c.history.keys); k > 0 {
		v = c.history.keys[c.random.IntN(k)]
	}
	c.history.mu.Unlock()
	if v == nil {
		c.publish(n, s)
		return
	}
	if c.coin(0.3) {
		e := c.event(opPublish, v.s)
		other := &save{id: e.id, s: v.s, label: v.label, key: v.key, artifact: Artifact{Name: "file-0", Content: "other " + e.id}}
		e.save = other
		c.history.mu.Lock()
		c.history.saves = append(c.history.saves, other)
		c.history.mu.Unlock()
		c.persist(other, e, n)
		return
	}
	c.persist(v, c.publishing(v), n)
}

// copy saves a version again, mostly a deleted one, here or in another model.
func (c *client) copy(n *node, s series) {
	from := s
	if c.coin(0.3) {
		from = fraud
	}
	ref := from.ref(registry.Selector{Number: c.number(from)})
	if c.coin(0.2) {
		ref.Selector = registry.Selector{}
	}
	v := &save{s: s, from: &ref}
	e := c.publishing(v)
	v.id = e.id
	if c.coin(0.5) {
		v.key, v.given = "key of "+v.id, true
	}
	c.keep(v)
	c.persist(v, e, n)
}

// errGivenUp is a client's own decision.
var errGivenUp = errors.New("the client gave up")

// attempt is one request to save.
func (c *client) attempt(v *save, e *event, n *node) {
	c.history.begin(e)
	c.history.end(e, n, c.send(v, e, n))
}

func (c *client) send(v *save, e *event, n *node) error {
	step := func(f func(context.Context) error) error {
		ctx, cancel := c.context(e)
		defer cancel()
		return f(ctx)
	}
	p := registry.Publication{
		Tenant: v.s.tenant, Model: v.s.model, Label: v.label, Key: v.key, By: v.id, Aliases: v.aliases,
	}
	if v.from != nil {
		return step(func(ctx context.Context) error {
			version, err := n.Copy(ctx, *v.from, p)
			return c.saved(e, version, err)
		})
	}
	var u *registry.Upload
	err := step(func(ctx context.Context) (err error) { u, err = n.Begin(ctx, p); return err })
	if err != nil {
		return err
	}
	defer u.Abort()
	standing := c.coin(0.1)
	for i, size := range []int64{int64(len(v.artifact.Content)), -1} {
		if standing {
			c.think()
		}
		name := v.artifact.Name
		if i == 1 {
			if c.artifact != nil || len(v.artifact.Content) < 40 {
				continue // some have a second file, of unknown size
			}
			name = "file-1"
		}
		err := step(func(ctx context.Context) error {
			_, err := u.File(ctx, name, strings.NewReader(v.artifact.Content), size, "")
			return err
		})
		if err != nil {
			return err
		}
	}
	if c.coin(0.03) {
		return errGivenUp
	}
	return step(func(ctx context.Context) error {
		version, err := u.Commit(ctx, v.artifact.Facts)
		return c.saved(e, version, err)
	})
}

func (c *client) saved(e *event, v *registry.Version, err error) error {
	if err == nil || errors.Is(err, registry.ErrVersionDeleted) && v != nil {
		e.got = v.Version
	}
	return err
}
