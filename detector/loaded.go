package detector

import (
	"cmp"
	"slices"
	"time"

	"modelbucket/registry"
)

// PoolStats is what a pool did and holds.
type PoolStats struct {
	Detectors int   // in memory
	InUse     int   // … of which somebody uses
	Tables    int   // … which have tables for batches
	Bytes     int64 // of all in memory, tables included
	Budget    int64
	Hits      int64 // requests that found a detector loaded
	Shared    int64 // … that waited for a load that another had begun
	Loads     int64 // begun
	Failures  int64 // loads that ended in an error
	Evictions int64 // detectors dropped to make room
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

// Held is how many bytes a tenant's detectors have in memory.
func (p *Pool) Held(t registry.Tenant) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held[t]
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
		loaded = append(loaded, Loaded{
			Tenant: e.key.tenant, Model: e.key.model, Version: e.detector.number, ID: e.key.id, Label: e.label,
			Bytes: e.bytes, InUse: e.users, LoadedAt: e.loadedAt.UTC(), UsedAt: e.usedAt.UTC(),
		})
	}
	p.mu.Unlock()
	slices.SortFunc(loaded, func(a, b Loaded) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Version, b.Version))
	})
	return loaded
}

// Unload drops the version's detector, and tells whether it was there. Who uses it
// keeps it; the next request loads it anew.
func (p *Pool) Unload(v *registry.Version) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[keyOf(v)]
	if e == nil {
		return false
	}
	p.drop(e)
	return true
}
