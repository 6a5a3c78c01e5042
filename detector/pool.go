package detector

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
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
}

const (
	defaultPoolBytes = 256 << 20
	loadTimeout      = 30 * time.Second
	// failureAge is how long a failed load stands for the next ones.
	failureAge = time.Second
)

// Pool keeps detectors in memory: those in use, and of the others those used last.
//
// The first request for a version loads it, and all that come meanwhile wait for that
// one load, which goes on when they leave. A detector that somebody uses is never
// dropped, and its bytes are counted until the last user has let go of it; where a load
// finds the budget full of such, it waits for one of them.
type Pool struct {
	registry *registry.Registry
	options  PoolOptions
	slots    chan struct{} // bounds the loads under way
	ctx      context.Context
	cancel   context.CancelFunc
	loads    sync.WaitGroup

	mu       sync.Mutex // guards all below
	closed   bool
	entries  map[poolKey]*entry
	idle     list.List // of loaded entries that nobody uses, the one used last in front
	failures map[poolKey]failure
	stats    PoolStats
	waiting  int           // loads that wait for room
	freed    chan struct{} // closed, and made anew, when there may be some
}

// poolKey is a version's identity: its bytes never change.
type poolKey struct {
	tenant registry.Tenant
	model  registry.Model
	id     registry.ID
}

// entry is a detector that is loaded or being loaded.
type entry struct {
	key     poolKey
	version *registry.Version
	ready   chan struct{} // closed when the load is over; detector and err are set then

	detector *Detector
	bytes    int64
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

// PoolStats is what a pool did and holds.
type PoolStats struct {
	Detectors int   // in memory
	InUse     int   // … of which somebody uses
	Bytes     int64 // of all in memory
	Budget    int64
	Hits      int64 // requests that found a detector loaded
	Shared    int64 // … that waited for a load that another had begun
	Loads     int64 // begun
	Failures  int64 // loads that ended in an error
	Evictions int64 // detectors dropped to make room
}

// NewPool makes a pool of the registry's detectors.
func NewPool(r *registry.Registry, o PoolOptions) *Pool {
	if o.Bytes <= 0 {
		o.Bytes = defaultPoolBytes
	}
	if o.LoadTimeout <= 0 {
		o.LoadTimeout = loadTimeout
	}
	p := &Pool{
		registry: r, options: o, slots: make(chan struct{}, 2*runtime.GOMAXPROCS(0)),
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
// than the whole budget), blob.ErrUnavailable (not loaded in time) and ctx's.
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
	key := poolKey{v.Tenant, v.Model, v.ID}
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
	e := &entry{key: key, version: v, ready: make(chan struct{}), users: 1}
	p.entries[key] = e
	p.stats.Loads++
	p.loads.Go(func() { p.load(e) })
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

// load fills an entry. Its context is the pool's, not that of who asked first.
func (p *Pool) load(e *entry) {
	ctx, cancel := context.WithTimeout(p.ctx, p.options.LoadTimeout)
	defer cancel()
	d, err := p.fetch(ctx, e)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		e.err = p.failed(e, err)
		if !e.dropped {
			delete(p.entries, e.key)
			e.dropped = true
		}
	} else {
		e.detector = d
		e.loadedAt = time.Now()
		e.usedAt = e.loadedAt
		p.stats.Detectors++
		p.settle(e)
	}
	close(e.ready)
}

// fetch loads the entry's detector and finds room for it.
func (p *Pool) fetch(ctx context.Context, e *entry) (*Detector, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d, err := Load(ctx, p.registry, e.version)
	if err != nil {
		return nil, err
	}
	if err := p.reserve(ctx, e, d.Bytes()); err != nil {
		return nil, fmt.Errorf("load %s: %w", e.version.Ref(), err)
	}
	return d, nil
}

// failed notes that a load ended with err, and returns what to tell those who wait.
func (p *Pool) failed(e *entry, err error) error {
	p.stats.Failures++
	switch {
	case p.closed:
		return fmt.Errorf("load %s: %w", e.version.Ref(), ErrClosed)
	case errors.Is(err, ErrNoRoom):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("load %s: %w: it took longer than %s", e.version.Ref(), blob.ErrUnavailable, p.options.LoadTimeout)
	}
	now := time.Now()
	for key, f := range p.failures {
		if now.Sub(f.at) >= failureAge {
			delete(p.failures, key)
		}
	}
	p.failures[e.key] = failure{err, now}
	return err
}

// reserve takes bytes of the budget for an entry, from idle detectors where it must. It
// waits while there are only others.
func (p *Pool) reserve(ctx context.Context, e *entry, bytes int64) error {
	if bytes > p.options.Bytes {
		return fmt.Errorf("%w: it needs %d bytes of memory, the pool has %d", ErrTooLarge, bytes, p.options.Bytes)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.stats.Bytes+bytes > p.options.Bytes {
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

// Unload drops the version's detector, and tells whether it was there. Who uses it
// keeps it; the next request loads it anew.
func (p *Pool) Unload(v *registry.Version) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[poolKey{v.Tenant, v.Model, v.ID}]
	if e == nil {
		return false
	}
	p.drop(e)
	return true
}

// Loaded is a detector in memory.
type Loaded struct {
	Tenant   registry.Tenant `json:"tenant"`
	Model    registry.Model  `json:"model"`
	Version  registry.Number `json:"version"`
	ID       registry.ID     `json:"id"`
	Label    *registry.Label `json:"label"`
	Bytes    int64           `json:"bytes"`
	InUse    int             `json:"in_use"`
	LoadedAt time.Time       `json:"loaded_at"`
	UsedAt   time.Time       `json:"used_at"`
}

// List tells what is loaded, by tenant, model and version.
func (p *Pool) List() []Loaded {
	p.mu.Lock()
	loaded := []Loaded{}
	for _, e := range p.entries {
		if e.detector == nil {
			continue
		}
		v := e.version
		loaded = append(loaded, Loaded{
			Tenant: v.Tenant, Model: v.Model, Version: v.Version, ID: v.ID, Label: v.Label,
			Bytes: e.bytes, InUse: e.users, LoadedAt: e.loadedAt.UTC(), UsedAt: e.usedAt.UTC(),
		})
	}
	p.mu.Unlock()
	slices.SortFunc(loaded, func(a, b Loaded) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Version, b.Version))
	})
	return loaded
}

// Stats is a snapshot.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Budget = p.options.Bytes
	s.InUse = s.Detectors - p.idle.Len()
	return s
}
