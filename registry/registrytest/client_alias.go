package registrytest

import (
	"context"

	"modelbucket/registry"
)

func (c *client) alias() registry.Alias {
	if c.mood != calm || c.coin(0.7) {
		return "champion"
	}
	return "challenger"
}

func (c *client) resolveAlias(n *node, s series) {
	e := c.event(opAlias, s)
	e.alias = c.alias()
	if c.coin(0.3) {
		c.resolve(e, n, registry.Selector{Alias: e.alias})
		return
	}
	e.kind = opAliasInfo
	c.do(e, n, func(ctx context.Context) error {
		a, err := n.Alias(ctx, s.tenant, s.model, e.alias)
		if err == nil {
			e.got, e.revision = a.Version, a.Revision
			c.saw(e)
		}
		return err
	})
}

func (c *client) saw(e *event) {
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	key := aliasKey{e.s, e.alias}
	c.history.seen[key] = max(c.history.seen[key], e.revision)
}

func (c *client) setAlias(n *node, s series) {
	e := c.event(opSetAlias, s)
	e.alias, e.number = c.alias(), c.number(s)
	change := registry.AliasChange{To: e.number, By: e.id, IfRevision: c.expectation(e)}
	e.ifRevision = change.IfRevision
	c.do(e, n, func(ctx context.Context) error {
		return c.changed(e)(n.SetAlias(ctx, s.tenant, s.model, e.alias, change))
	})
}

func (c *client) dropAlias(n *node, s series) {
	e := c.event(opDropAlias, s)
	e.alias = c.alias()
	change := registry.AliasChange{By: e.id, IfRevision: c.expectation(e)}
	e.ifRevision = change.IfRevision
	c.do(e, n, func(ctx context.Context) error {
		return c.changed(e)(n.DeleteAlias(ctx, s.tenant, s.model, e.alias, change))
	})
}

func (c *client) changed(e *event) func(*registry.AliasInfo, error) error {
	return func(a *registry.AliasInfo, err error) error {
		if err == nil {
			e.got, e.revision = a.Version, a.Revision
			c.saw(e)
		}
		return err
	}
}

// expectation is right, too low, too high, or none.
func (c *client) expectation(e *event) *int64 {
	c.history.mu.Lock()
	revision := c.history.seen[aliasKey{e.s, e.alias}]
	c.history.mu.Unlock()
	switch c.random.IntN(8) {
	case 0, 1:
	case 2:
		revision = max(0, revision-1)
	case 3:
		revision++
	default:
		return nil
	}
	return &revision
}

// contest sets an alias to a version that is deleted at the same time, on another node.
func (c *client) contest(n *node, s series) {
	set, gone := c.event(opSetAlias, s), c.event(opDelete, s)
	set.alias, set.number = c.alias(), c.number(s)
	gone.number = set.number
	other := c.pick(c.random)
	c.history.begin(set) // both here, so that chance has no say in their order
	c.history.begin(gone)
	together(func() {
		c.finish(set, n, func(ctx context.Context) error {
			return c.changed(set)(n.SetAlias(ctx, s.tenant, s.model, set.alias, registry.AliasChange{To: set.number, By: set.id}))
		})
	}, func() {
		c.finish(gone, other, func(ctx context.Context) error {
			v, err := other.DeleteVersion(ctx, s.ref(registry.Selector{Number: gone.number}), registry.Deletion{By: gone.id})
			if err == nil {
				gone.got = v.Version
			}
			return err
		})
	})
}
