package detector

import (
	"context"
	"fmt"

	"modelbucket/registry"
)

// Here the pool keeps its books. All but reserve is called with Pool.mu held.

// reserve takes bytes of the budget for an entry: where it must from the tables of idle
// detectors, and then from these; where its tenant has all of its share, from those of the
// tenant alone. It waits while there are only others.
func (p *Pool) reserve(ctx context.Context, e *entry, bytes int64) error {
	if bytes > p.options.Bytes {
		return fmt.Errorf("%w: it needs %d bytes of memory, the pool has %d", ErrTooLarge, bytes, p.options.Bytes)
	}
	tenant := e.key.tenant
	if share := p.share(tenant); bytes > share {
		return fmt.Errorf("%w: it needs %d bytes of memory, tenant %s may have %d here", ErrTooLarge, bytes, tenant, share)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		own := p.overdrawn(tenant, bytes)
		if !own && p.stats.Bytes+bytes <= p.options.Bytes {
			break
		}
		of := func(t registry.Tenant) bool { return !own || t == tenant }
		if p.dropTables(of) {
			continue
		}
		if e := p.victim(of); e != nil {
			p.drop(e)
			p.stats.Evictions++
			continue
		}
		freed := p.freed
		p.waiting++
		p.mu.Unlock()
		var err error
		select {
		case <-freed:
		case <-ctx.Done():
			err = fmt.Errorf("%w: it needs %d bytes, and the detectors in use leave none of %d", ErrNoRoom, bytes, p.options.Bytes)
			if own {
				err = fmt.Errorf("%w: detectors of tenant %s that are in use take all that it may have in memory here", ErrTooMany, tenant)
			}
		}
		p.mu.Lock()
		p.waiting--
		if err != nil {
			return err
		}
	}
	p.book(tenant, bytes)
	e.bytes = bytes
	return nil
}

// share is how many bytes a tenant's detectors may have.
func (p *Pool) share(t registry.Tenant) int64 {
	if share := p.options.Share(t); share >= 0 {
		return min(share, p.options.Bytes)
	}
	return p.options.Bytes
}

// overdrawn tells whether a tenant with a share would hold more than that.
func (p *Pool) overdrawn(t registry.Tenant, more int64) bool {
	share := p.share(t)
	return share < p.options.Bytes && p.held[t]+more > share
}

// book notes that a tenant holds more bytes, or fewer.
func (p *Pool) book(t registry.Tenant, bytes int64) {
	p.stats.Bytes += bytes
	if p.held[t] += bytes; p.held[t] == 0 {
		delete(p.held, t)
	}
}

// victim is the idle detector that goes next: the one used last longest ago, of a tenant
// that holds more than an equal part of the budget if there is one.
func (p *Pool) victim(of func(registry.Tenant) bool) *entry {
	equal := p.options.Bytes / int64(max(1, len(p.held)))
	var oldest *entry
	for element := p.idle.Back(); element != nil; element = element.Prev() {
		e := element.Value.(*entry)
		if !of(e.key.tenant) {
			continue
		}
		if p.held[e.key.tenant] > equal {
			return e
		}
		if oldest == nil {
			oldest = e
		}
		if len(p.held) == 1 {
			break
		}
	}
	return oldest
}

// settle files an entry that has lost a user: nobody's becomes idle, or leaves memory
// if it was dropped.
func (p *Pool) settle(e *entry) {
	switch {
	case e.users > 0 || e.detector == nil:
		return
	case e.dropped:
		p.free(e)
	default:
		e.idle = p.idle.PushFront(e)
		p.announce()
	}
}

// free takes an entry that left memory off the books.
func (p *Pool) free(e *entry) {
	p.book(e.key.tenant, -e.bytes)
	if e.tables > 0 {
		p.stats.Tables--
	}
	p.stats.Detectors--
	p.announce()
}

// announce wakes the loads that wait for room.
func (p *Pool) announce() {
	if p.waiting > 0 {
		close(p.freed)
		p.freed = make(chan struct{})
	}
}

// drop takes an entry out. Its bytes are counted until the last user leaves.
func (p *Pool) drop(e *entry) {
	delete(p.entries, e.key)
	e.dropped = true
	if e.idle != nil {
		p.idle.Remove(e.idle)
		e.idle = nil
		p.free(e)
	}
}
