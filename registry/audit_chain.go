package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"modelbucket/blob"
)

// auditBatch is the body of a batch: an object of the audit log, created once. The
// batches that a process writes for a tenant are a chain: each names the one before it by
// its digest, so that none can be taken out of the middle or be changed. That the last ones
// are missing shows only against a head that was noted elsewhere: nodes log it.
type auditBatch struct {
	Chain    string        `json:"chain"`
	Seq      int64         `json:"seq"`      // from 1
	Previous string        `json:"previous"` // SHA-256 of the bytes of batch Seq−1; "" of the first
	At       time.Time     `json:"at"`
	Records  []AuditRecord `json:"records"` // oldest first
}

const (
	auditBatchBytes = 256 << 10        // of a batch's records
	auditWaiting    = 32 << 20         // bytes of records that a node holds back while the store is away
	auditPause      = time.Second      // for which the end of a change waits for company
	auditAway       = 30 * time.Second // between two tries while the store is away, at most
	auditTries      = 5                // to store a batch, before all who wait for it are told no
	auditChains     = 4096             // that a node keeps; a new one is begun for who comes again
	headEvery       = 1000             // batches, and the head of the chain is logged
)

// errAuditFull: so many records wait for the store that no more can.
var errAuditFull = fmt.Errorf("%w: too many records of the audit log wait for the store", blob.ErrUnavailable)

// auditLog is what a process writes.
type auditLog struct {
	r      *Registry
	writes *cleanups

	mu      sync.Mutex // guards all below, and what is in chains
	chains  map[Tenant]*auditChain
	waiting int // bytes
	lost    int // records that were given up
	closing bool
}

// auditChain is the chain of a tenant.
type auditChain struct {
	log       *auditLog
	tenant    Tenant
	id        string
	seq       int64
	head      string        // digest of batch seq
	at        time.Time     // that it has, or the one being made
	entries   []*auditEntry // not stored yet, oldest first
	unsettled *sealedBatch  // was sent, and may be there
	writing   bool
	failures  int
	timer     *time.Timer
}

// auditEntry is a record on its way into the store.
type auditEntry struct {
	record AuditRecord
	size   int
	urgent bool
	done   chan struct{} // closed when err is set
	err    error
}

type sealedBatch struct {
	key     string
	data    []byte
	seq     int64
	entries []*auditEntry
}

func newAuditLog(r *Registry) *auditLog {
	return &auditLog{r: r, writes: newCleanups(256), chains: map[Tenant]*auditChain{}}
}

// wait returns when the record is stored, or will not be.
func (e *auditEntry) wait(ctx context.Context) error {
	select {
	case <-e.done:
		return e.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *auditEntry) settle(err error) {
	e.err = err
	close(e.done)
}

// add takes a record in. An urgent one is written at once, or, while another batch is on
// its way, in the next; any other waits for company.
func (l *auditLog) add(a AuditRecord, urgent bool) *auditEntry {
	tenant := a.Tenant // hidden it may be another's name
	a = a.plain()
	a.At = l.r.stamp()
	e := &auditEntry{record: a, urgent: urgent, done: make(chan struct{})}
	if text, err := json.Marshal(a); err == nil {
		e.size = len(text) + 1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting+e.size > auditWaiting {
		if !urgent {
			l.lost++
		}
		e.settle(errAuditFull)
		return e
	}
	c := l.chain(tenant)
	c.entries = append(c.entries, e)
	l.waiting += e.size
	switch {
	case c.writing:
	case urgent || l.closing:
		c.begin()
	case c.timer == nil:
		c.arm(auditPause)
	}
	return e
}

// chain is that of a tenant, a new one where it has none. l.mu is held.
func (l *auditLog) chain(t Tenant) *auditChain {
	c := l.chains[t]
	if c == nil {
		if len(l.chains) >= auditChains {
			for other, c := range l.chains {
				if !c.writing && len(c.entries) == 0 && c.unsettled == nil {
					c.logHead()
					delete(l.chains, other)
				}
			}
		}
		c = &auditChain{log: l, tenant: t, id: l.r.newID()}
		l.chains[t] = c
	}
	return c
}

// arm has what waits written after a pause. l.mu is held.
func (c *auditChain) arm(pause time.Duration) {
	c.timer = time.AfterFunc(pause, func() {
		c.log.mu.Lock()
		defer c.log.mu.Unlock()
		if c.timer = nil; !c.writing && (len(c.entries) > 0 || c.unsettled != nil) {
			c.begin()
		}
	})
}

// begin writes behind whoever asked. l.mu is held.
func (c *auditChain) begin() {
	c.writing = true
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.log.writes.begin(c.write)
}

// write stores batch after batch, until nothing waits or one can't be stored.
func (c *auditChain) write() {
	l := c.log
	for {
		l.mu.Lock()
		batch, err := c.next()
		if batch == nil && err == nil {
			c.writing = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		if err == nil {
			err = c.store(batch)
		}
		l.mu.Lock()
		if err != nil {
			c.failed(batch, err)
			l.mu.Unlock()
			return
		}
		c.stored(batch)
		l.mu.Unlock()
	}
}

// next is the batch to be stored: the one whose fate is not known, or a new one of what
// waits; nil where nothing does. l.mu is held.
func (c *auditChain) next() (*sealedBatch, error) {
	if c.unsettled != nil || len(c.entries) == 0 {
		return c.unsettled, nil
	}
	// The batches of a chain stand in their order, whatever the clock does.
	if at := c.log.r.stamp().Truncate(time.Millisecond); at.After(c.at) {
		c.at = at
	} else {
		c.at = c.at.Add(time.Millisecond)
	}
	body := auditBatch{Chain: c.id, Seq: c.seq + 1, Previous: c.head, At: c.at}
	n, size := 0, 0
	for n < len(c.entries) && (n == 0 || size+c.entries[n].size <= auditBatchBytes) {
		size += c.entries[n].size
		body.Records = append(body.Records, c.entries[n].record)
		n++
	}
	b := &sealedBatch{key: auditID{body.At, c.id, body.Seq}.key(c.tenant), seq: body.Seq, entries: c.entries[:n:n]}
	var err error
	b.data, err = seal(b.key, body)
	return b, err
}

// store creates the batch. Its bytes are nobody else's, so it is there for good once
// they are.
func (c *auditChain) store(b *sealedBatch) error {
	ctx := unscoped(context.Background())
	if c.tenant != "" {
		ctx = rescope(ctx, c.tenant)
	}
	theirs, err := c.log.r.createIn(ctx, b.key, b.data, auditTries)
	if err == nil && theirs != nil {
		return corrupt(b.key, "is there already under a name that was made just now")
	}
	return err
}

// stored tells all who wait for the batch. l.mu is held.
func (c *auditChain) stored(b *sealedBatch) {
	if c.unsettled == nil { // else its entries were taken out when it failed
		c.take(len(b.entries))
		for _, e := range b.entries {
			e.settle(nil)
		}
	}
	c.unsettled, c.failures = nil, 0
	c.seq, c.head = b.seq, hexSHA256(b.data)
	if c.seq%headEvery == 0 {
		c.logHead()
	}
}

// take takes the first n entries out. l.mu is held.
func (c *auditChain) take(n int) {
	for _, e := range c.entries[:n] {
		c.log.waiting -= e.size
	}
	c.entries = append([]*auditEntry(nil), c.entries[n:]...)
}

// failed tells all whose change waits that it cannot be made. A batch that may be there is
// sent again, as it is, before any other; of one that is not, the ends of changes stay.
// l.mu is held.
func (c *auditChain) failed(b *sealedBatch, err error) {
	first := c.failures == 0
	c.failures++
	if c.unsettled == nil && errors.Is(err, errUndecided) {
		c.unsettled = b
		c.take(len(b.entries))
		for _, e := range b.entries {
			e.settle(err)
		}
	}
	if errors.Is(err, ErrCorrupt) { // nothing can be added to this chain any more
		c.logHead()
		c.id, c.seq, c.head, c.unsettled = c.log.r.newID(), 0, "", nil
	}
	var kept []*auditEntry
	for _, e := range c.entries {
		if e.urgent {
			c.log.waiting -= e.size
			e.settle(err)
		} else {
			kept = append(kept, e)
		}
	}
	c.entries, c.writing = kept, false
	if first {
		c.log.r.log.Warn("the audit log cannot be written", "tenant", c.tenant, "err", err)
	}
	if (len(c.entries) > 0 || c.unsettled != nil) && !c.log.closing {
		c.arm(min(auditAway, auditPause<<min(c.failures, 10)))
	}
}

// logHead says how far the chain goes: against that it shows when its end is cut off.
func (c *auditChain) logHead() {
	if c.seq > 0 {
		c.log.r.log.Info("audit log", "tenant", c.tenant, "chain", c.id, "batches", c.seq, "head", c.head)
	}
}

// close writes what waits, once, and says how far the chains go.
func (l *auditLog) close(ctx context.Context) error {
	l.mu.Lock()
	l.closing = true
	for _, c := range l.chains {
		if !c.writing && (len(c.entries) > 0 || c.unsettled != nil) {
			c.begin()
		}
	}
	l.mu.Unlock()
	err := l.writes.wait(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.lost
	for _, c := range l.chains {
		c.logHead()
		left += len(c.entries)
		if c.timer != nil {
			c.timer.Stop()
		}
	}
	if err == nil && left > 0 {
		err = fmt.Errorf("%d records are missing in the audit log: the store did not take them", left)
	}
	return err
}

// readBatch reads a batch and sees that it is the one that its key names.
func (r *Registry) readBatch(ctx context.Context, key string, id auditID) (*auditBatch, []byte, error) {
	b := new(auditBatch)
	data, _, err := r.readSound(ctx, key, b)
	if err != nil {
		return nil, nil, err
	}
	if b.Chain != id.chain || b.Seq != id.seq {
		return nil, nil, corrupt(key, "is batch %d of chain %s", b.Seq, b.Chain)
	}
	return b, data, nil
}
