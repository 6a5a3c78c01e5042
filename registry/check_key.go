package registry

import "context"

// key checks an object about API keys.
func (c *checker) key(ctx context.Context, key string) error {
	l := locateKey(key)
	id := KeyID(l.name)
	switch l.kind {
	case kindKeyEpoch:
		_, err := c.r.read(ctx, key, new(keyEpoch))
		return c.damage(key, err)
	case kindKeyUse:
		if _, err := c.r.read(ctx, key, new(keyUse)); err != nil {
			return c.damage(key, err)
		}
		there, err := c.there(ctx, keyKey(id))
		if err == nil && !there {
			c.problem(keyKey(id), "is missing, and the key was used")
		}
		return err
	case kindKeyEntry: // may be of a key that was not made after all
		_, err := c.r.read(ctx, key, new(keyEntry))
		return c.damage(key, err)
	case kindKey:
		var b keyBody
		_, err := c.r.read(ctx, key, &b)
		if err == nil {
			_, err = c.r.keyOf(id, &b)
		}
		if err != nil {
			return c.damage(key, err)
		}
		return c.listed(ctx, id, b.Tenant)
	}
	return c.stray(ctx, key, "is no object of ours")
}

// listed reports a key that works and that no list shows.
func (c *checker) listed(ctx context.Context, id KeyID, tenant *Tenant) error {
	entry := keyListKey("", id)
	if tenant != nil {
		entry = keyListKey(*tenant, id)
	}
	there, err := c.there(ctx, entry)
	if err == nil && !there {
		c.problem(entry, "is missing, and the key %s works: no list of keys shows it", id)
	}
	return err
}
