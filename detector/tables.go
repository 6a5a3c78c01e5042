package detector

import (
	"modelbucket/detector/forest"
	"modelbucket/registry"
)

// count counts rows that were scored without tables, and asks for tables when there
// have been forest.TableRows.
func (d *Detector) count(rows int) {
	n := int64(rows)
	if after := d.rows.Add(n); after >= forest.TableRows && after-n < forest.TableRows {
		if d.wanted != nil {
			d.wanted()
			return
		}
		if plan, ok := d.compiled.PlanTables(); ok {
			d.tables.Store(plan.Build())
		}
	}
}

// dropTables gives the tables up, and counts rows anew.
func (d *Detector) dropTables() {
	d.tables.Store(nil)
	d.rows.Store(0)
}

// wantTables has the tables of an entry made, while its detector goes on to score
// without. The caller uses the entry.
func (p *Pool) wantTables(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || e.dropped || e.users == 0 {
		return
	}
	e.users++
	p.loads.Go(func() {
		defer p.leave(e)
		if !p.makeTables(e) {
			e.detector.rows.Store(0)
		}
	})
}

// makeTables gives an entry tables if that can be done at once; it tells whether it is
// over and done with.
func (p *Pool) makeTables(e *entry) bool {
	if !p.slots.TryEnter(e.key.tenant, 1) {
		return false // a load comes first
	}
	defer p.slots.Leave(e.key.tenant, 1)
	plan, ok := e.detector.compiled.PlanTables()
	if !ok {
		return true
	}
	if !p.reserveTables(e, plan.Bytes()) {
		return false
	}
	e.detector.tables.Store(plan.Build())
	return true
}

// reserveTables takes bytes of the budget for an entry's tables if there are some to
// spare, or tables of detectors that nobody uses. No detector has to go for tables.
func (p *Pool) reserveTables(e *entry, bytes int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting > 0 || e.dropped {
		return false
	}
	tenant := e.key.tenant
	for {
		own := p.overdrawn(tenant, bytes)
		if !own && p.stats.Bytes+bytes <= p.options.Bytes {
			break
		}
		if !p.dropTables(func(t registry.Tenant) bool { return !own || t == tenant }) {
			return false
		}
	}
	e.tables = bytes
	e.bytes += bytes
	p.book(tenant, bytes)
	p.stats.Tables++
	return true
}

// dropTables makes room by dropping tables of these tenants, those used last longest ago.
// It reports whether there were any that nobody uses. Pool.mu is held.
func (p *Pool) dropTables(of func(registry.Tenant) bool) bool {
	for element := p.idle.Back(); element != nil; element = element.Prev() {
		if e := element.Value.(*entry); e.tables > 0 && of(e.key.tenant) {
			e.detector.dropTables()
			e.bytes -= e.tables
			p.book(e.key.tenant, -e.tables)
			e.tables = 0
			p.stats.Tables--
			return true
		}
	}
	return false
}
