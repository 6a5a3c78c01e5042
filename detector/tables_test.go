package detector_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"modelbucket/detector"
	"modelbucket/registry"
)

// enough rows for a detector to get tables, and then some.
func manyRows(width int) []float64 {
	x := make([]float64, 5000*width)
	for i := range x {
		x[i] = float64(i * i % 5003)
	}
	return x
}

// inBatches scores rows as a stream does.
func inBatches(d *detector.Detector, x []float64) []float64 {
	scores := make([]float64, len(x)/d.Width())
	for i := 0; i < len(scores); i += 256 {
		end := min(i+256, len(scores))
		d.Score(scores[i:end], x[i*d.Width():end*d.Width()])
	}
	return scores
}

// TestTables: a detector without a pool makes its tables by itself, and they change
// nothing but its size.
func TestTables(t *testing.T) {
	d := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{}).Detector
	before := d.Bytes()
	x := manyRows(d.Width())
	first := inBatches(d, x)
	if d.Bytes() <= before {
		t.Errorf("%d bytes after %d rows, %d before", d.Bytes(), len(first), before)
	}
	if !slices.Equal(inBatches(d, x), first) {
		t.Error("with tables the scores differ")
	}
}

// TestPoolTables: tables count, take what is left, and go before a detector does.
func TestPoolTables(t *testing.T) {
	// Tables take some 22 times what the test's small detectors do.
	pooling(t, 3, 25, func(s *store, p *detector.Pool, v []*registry.Version) {
		use := func(i int) {
			t.Helper()
			d, release, err := p.Get(s.Context(), v[i])
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			inBatches(d, manyRows(d.Width()))
			synctest.Wait()
		}
		check := func(when string, detectors, tables int) {
			t.Helper()
			stats, sum := p.Stats(), int64(0)
			for _, l := range p.List() {
				sum += l.Bytes
			}
			if stats.Detectors != detectors || stats.Tables != tables || stats.InUse != 0 || stats.Evictions != 0 || stats.Bytes != sum || stats.Bytes > stats.Budget {
				t.Errorf("%s: %+v; all together %d bytes", when, stats, sum)
			}
		}
		get(s.T, p, v[0])()
		check("loaded", 1, 0)
		without := p.Stats().Bytes
		use(0)
		check("one with tables", 1, 1)
		use(0)
		check("they stay", 1, 1)
		use(1)
		check("there is room for the tables of one", 2, 1)
		if l := p.List(); l[0].Bytes != without || l[1].Bytes <= without {
			t.Errorf("the one used last should have tables: %+v", l)
		}
		release := get(s.T, p, v[1])
		use(0)
		if stats := p.Stats(); stats.Tables != 1 || stats.InUse != 1 {
			t.Errorf("tables in use stay: %+v", stats)
		}
		release()
		p.Unload(v[1])
		check("unloaded", 1, 0)
		use(0)
		check("room again", 1, 1)
	})
}

// TestPoolTablesGoFirst: no detector goes for tables, but tables for a detector.
func TestPoolTablesGoFirst(t *testing.T) {
	pooling(t, 25, 25.5, func(s *store, p *detector.Pool, v []*registry.Version) {
		use := func() {
			t.Helper()
			d, release, err := p.Get(s.Context(), v[0])
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			inBatches(d, manyRows(d.Width()))
			synctest.Wait()
		}
		for i := range 24 {
			get(s.T, p, v[i])()
		}
		use()
		if stats := p.Stats(); stats.Detectors != 24 || stats.Tables != 0 || stats.Evictions != 0 {
			t.Errorf("without room: %+v", stats)
		}
		for i := 1; i < 24; i++ {
			p.Unload(v[i])
		}
		use()
		if stats := p.Stats(); stats.Detectors != 1 || stats.Tables != 1 {
			t.Errorf("with room: %+v", stats)
		}
		for i := 1; i < 25; i++ {
			get(s.T, p, v[i])()
		}
		if stats := p.Stats(); stats.Detectors != 25 || stats.Tables != 0 || stats.Evictions != 0 {
			t.Errorf("with detectors again: %+v", stats)
		}
	})
}
