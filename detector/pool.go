package detector

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
)

// PoolOptions bound a pool; the zero value is ready for use.
type PoolOptions struct {
	// Bytes is the budget: the detectors in memory never hold more (0: 256 MiB). What
	// a load needs beside its detector is not counted, but few loads run at once.
	Bytes int64
	// LoadTimeout is the time that one load has, waiting included (0: 30 s).
	LoadTimeout time.Duration
	// Share is how many of the bytes a tenant's detectors may have (nil or negative: any).
	Share func(registry.Tenant) int64
}

const (
	defaultPoolBytes = 256 << 20
	loadTimeout      = 30 * time.Second
	// failureAge is how long a failed load stands for the next ones.
	failureAge = time.Second
	// maxLoads bounds the loads of one tenant that wait for their turn.
	maxLoads = 256
)

// Pool keeps detectors in memory: those in use, and of the others those used last.
//
// The first request for a version loads it, and all that come meanwhile wait for that
// one load, which goes on when they leave. A detector that somebody uses is never
// dropped, and its bytes are counted until the last user has let go of it; where a load
// finds the budget full of such, it waits for one of them. Room is made first by tenants
// that have more than an equal part of the budget, so that one with many detectors does
// not drive out those of others. Tables for batches take what the detectors leave, and go
// first.
type Pool struct {
	registry *registry.Registry
	options  PoolOptions
	slots    *Gate // bounds the loads under way
	ctx      context.Context
	cancel   context.CancelFunc
	loads    sync.WaitGroup

	mu       sync.Mutex // guards all below
	closed   bool
	entries  map[poolKey]*entry
	idle     list.List // of loaded entries that nobody uses, the one used last in front
	failures map[poolKey]failure
	stats    PoolStats
	held     map[registry.Tenant]int64 // bytes, of those who have some
	waiting  int                       // loads that wait for room
	freed    chan struct{}             // closed, and made anew, when there may be some
}

// poolKey is a version's identity: its bytes never change.
type poolKey struct {
	tenant registry.Tenant
	model  registry.Model
	id     registry.ID
}

func keyOf(v *registry.Version) poolKey { return poolKey{v.Tenant, v.Model, v.ID} }

// entry is a detector that is loaded or being loaded.
type entry struct {
	key   poolKey
	label *registry.Label
	ready chan struct{} // closed when the load is over; detector and err are set then

	detector *Detector
	bytes    int64 // with its tables
	tables   int64 // … these alone; 0 while there are none
	err      error

	// Guarded by Pool.mu.
	users            int           // who uses the detector, or waits for it
	idle             *list.Element // in Pool.idle
	dropped          bool          // no longer in Pool.entries
	loadedAt, usedAt time.Time
}

type failure struct {
	err error
	at  time.Time
}

// NewPool makes a pool of the registry's detectors.
func NewPool(r *registry.Registry, o PoolOptions) *Pool {
	if o.Bytes <= 0 {
		o.Bytes = defaultPoolBytes
	}
	if o.LoadTimeout <= 0 {
		o.LoadTimeout = loadTimeout
	}
	if o.Share == nil {
		o.Share = func(registry.Tenant) int64 { return -1 }
	}
	p := &Pool{
		registry: r, options: o, held: map[registry.Tenant]int64{}, slots: NewGate(GateOptions{Work: "loads of detectors", Capacity: int64(2 * runtime.GOMAXPROCS(0)), Queue: maxLoads, Wait: o.LoadTimeout}),
		entries: map[poolKey]*entry{}, failures: map[poolKey]failure{}, freed: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Close ends all loads and waits for them. Detectors in use stay usable.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.loads.Wait()
}

// Get returns the version's detector, loaded if need be. The caller calls release when
// it no longer uses it. Beside Load's errors there are ErrNoRoom, ErrTooLarge (more
// than the whole budget), ErrTooMany and ErrBusy (as many loads wait as may),
// blob.ErrUnavailable (not loaded in time) and ctx's.
func (p *Pool) Get(ctx context.Context, v *registry.Version) (d *Detector, release func(), err error) {
	e, err := p.join(v)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-e.ready:
	case <-ctx.Done():
		p.leave(e)
		return nil, nil, fmt.Errorf("load %s: %w", v.Ref(), ctx.Err())
	}
	if e.err != nil {
		p.leave(e)
		return nil, nil, e.err
	}
	return e.detector, sync.OnceFunc(func() { p.leave(e) }), nil
}

// join makes the caller a user of the version's entry, and begins to load it if it is
// the first.
func (p *Pool) join(v *registry.Version) (*entry, error) {
	key := keyOf(v)
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[key]; e != nil {
		e.users++
		if e.detector == nil {
			p.stats.Shared++
			return e, nil
		}
		p.stats.Hits++
		if e.idle != nil {
			p.idle.Remove(e.idle)
			e.idle = nil
		}
		return e, nil
	}
	if p.closed {
		return nil, fmt.Errorf("load %s: %w", v.Ref(), ErrClosed)
	}
	if f, ok := p.failures[key]; ok && time.Since(f.at) < failureAge {
		return nil, f.err
	}
	e := &entry{key: key, ready: make(chan struct{}), users: 1}
	if v.Label != nil {
		e.label = new(*v.Label) // a copy: v's own would keep all of v in memory
	}
	p.entries[key] = e
	p.stats.Loads++
	p.loads.Go(func() { p.load(e, v) })
	return e, nil
}

// leave ends one use of an entry.
func (p *Pool) leave(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.users--
	e.usedAt = time.Now()
	p.settle(e)
}

// load fills an entry. Its context is the pool's, not that of who asked first.
func (p *Pool) load(e *entry, v *registry.Version) {
	ctx, cancel := context.WithTimeout(registry.WithScope(p.ctx, v.Tenant), p.options.LoadTimeout)
	defer cancel()
	d, err := p.fetch(ctx, e, v)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		e.err = p.failed(v, err)
		if !e.dropped {
			delete(p.entries, e.key)
			e.dropped = true
		}
	} else {
		e.detector = d
		d.wanted = func() { p.wantTables(e) }
		e.loadedAt = time.Now()
		e.usedAt = e.loadedAt
		p.stats.Detectors++
		p.settle(e)
	}
	close(e.ready)
}

// fetch loads the entry's detector and finds room for it.
func (p *Pool) fetch(ctx context.Context, e *entry, v *registry.Version) (*Detector, error) {
	if err := p.slots.Enter(ctx, v.Tenant, 1); err != nil {
		return nil, fmt.Errorf("load %s: %w", v.Ref(), err)
	}
	defer p.slots.Leave(v.Tenant, 1)
	d, err := Load(ctx, p.registry, v)
	if err != nil {
		return nil, err
	}
	if err := p.reserve(ctx, e, d.Bytes()); err != nil {
		return nil, fmt.Errorf("load %s: %w", v.Ref(), err)
	}
	return d, nil
}

// failed notes that a load ended with err, and returns what to tell those who wait.
func (p *Pool) failed(v *registry.Version, err error) error {
	p.stats.Failures++
	switch {
	case p.closed:
		return fmt.Errorf("load %s: %w", v.Ref(), ErrClosed)
	case errors.Is(err, ErrNoRoom), errors.Is(err, ErrTooMany), errors.Is(err, ErrBusy):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("load %s: %w: it took longer than %s", v.Ref(), blob.ErrUnavailable, p.options.LoadTimeout)
	}
	now := time.Now()
	for key, f := range p.failures {
		if now.Sub(f.at) >= failureAge {
			delete(p.failures, key)
		}
	}
	p.failures[keyOf(v)] = failure{err, now}
	return err
}
