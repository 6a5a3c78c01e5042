package registry

import (
	"container/list"
	"sync"
)

// lru remembers the values used last: at most max of them, and where they have sizes that
// others decide on, at most so many bytes.
type lru[K comparable, V any] struct {
	max    int
	budget int64         // bytes
	size   func(V) int64 // in bytes

	mu    sync.Mutex // guards all below
	order *list.List // of entries, the one used last in front
	items map[K]*list.Element
	held  int64 // bytes
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

// newLRU is for values of which none is large.
func newLRU[K comparable, V any](max int) *lru[K, V] {
	return newSizedLRU[K](max, 0, func(V) int64 { return 0 })
}

func newSizedLRU[K comparable, V any](max int, budget int64, size func(V) int64) *lru[K, V] {
	return &lru[K, V]{max: max, budget: budget, size: size, order: list.New(), items: map[K]*list.Element{}}
}

func (c *lru[K, V]) get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*lruEntry[K, V]).value, true
	}
	var none V
	return none, false
}

// getOr is get; where there is nothing, it puts what made makes.
func (c *lru[K, V]) getOr(key K, made func() V) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*lruEntry[K, V]).value
	}
	value := made()
	c.add(key, value)
	return value
}

func (c *lru[K, V]) put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.drop(e)
	}
	c.add(key, value)
}

// add puts a new value in; c.mu is held.
func (c *lru[K, V]) add(key K, value V) {
	c.items[key] = c.order.PushFront(&lruEntry[K, V]{key, value})
	c.held += c.size(value)
	for c.order.Len() > c.max || c.held > c.budget {
		c.drop(c.order.Back())
	}
}

// drop forgets an entry; c.mu is held.
func (c *lru[K, V]) drop(e *list.Element) {
	entry := c.order.Remove(e).(*lruEntry[K, V])
	delete(c.items, entry.key)
	c.held -= c.size(entry.value)
}
