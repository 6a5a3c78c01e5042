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
		return c.belongs(ctx, key, id)
	case kindKeyEntry:
		if _, err := c.r.read(ctx, key, new(keyEntry)); err != nil {
			return c.damage(key, err)
		}
		return c.belongs(ctx, key, id)
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

// belongs reports what is left of a key that is not there.
func (c *checker) belongs(ctx context.Context, key string, id KeyID) error {
	there, err := c.there(ctx, keyKey(id))
	if err != nil || there {
		return err
	}
	return c.stray(ctx, key, "belongs to the key %s, which does not exist", id)
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
