package detector

import (
	"context"
	"fmt"
)

// Here the pool keeps its books. All but reserve is called with Pool.mu held.

// reserve takes bytes of the budget for an entry: where it must from the tables of idle
// detectors, and then from these. It waits while there are only others.
func (p *Pool) reserve(ctx context.Context, e *entry, bytes int64) error {
	if bytes > p.options.Bytes {
		return fmt.Errorf("%w: it needs %d bytes of memory, the pool has %d", ErrTooLarge, bytes, p.options.Bytes)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.stats.Bytes+bytes > p.options.Bytes {
		if p.dropTables() {
			continue
		}
		if oldest := p.idle.Back(); oldest != nil {
			p.drop(oldest.Value.(*entry))
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
		}
		p.mu.Lock()
		p.waiting--
		if err != nil {
			return err
		}
	}
	p.stats.Bytes += bytes
	e.bytes = bytes
	return nil
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
	p.stats.Bytes -= e.bytes
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
