package registry

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// pageBytes is about how much memory a page of a list takes. Who writes decides how large
// its entries are, so a page of large ones ends before it has as many as were asked for.
const pageBytes = 8 << 20

func pageLimit(limit int) int {
	if limit <= 0 {
		limit = 100
	}
	return min(limit, keysForPage)
}

// pageMeter measures what the entries of a page take.
type pageMeter struct{ bytes atomic.Int64 }

func (m *pageMeter) full() bool { return m.bytes.Load() >= pageBytes }

// pageEntry has about as many bytes of memory as its Footprint says.
type pageEntry interface {
	comparable
	Footprint() int64
}

// gather reads entries 0 … n-1 side by side, until the page is full. It returns those that
// there are (zero: not there), in order, and how many it read, from the first on: at least
// one, unless the page was full before.
func gather[E pageEntry](ctx context.Context, m *pageMeter, n int, read func(ctx context.Context, i int) (E, error)) (found []E, done int, err error) {
	var none E
	entries := make([]E, n)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for ; done < n && !m.full(); done++ {
		i := done
		g.Go(func() (err error) {
			if entries[i], err = read(gctx, i); err == nil && entries[i] != none {
				m.bytes.Add(entries[i].Footprint())
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	found = entries[:0]
	for _, e := range entries {
		if e != none {
			found = append(found, e)
		}
	}
	return found, done, nil
}

// footprint is about how many bytes a description and tags take.
func footprint(description string, tags map[string]string) int64 {
	n := len(description)
	for name, value := range tags {
		n += 64 + len(name) + len(value)
	}
	return int64(n)
}

// Footprint is about how many bytes of memory the model takes.
func (m *ModelInfo) Footprint() int64 {
	return 512 + footprint(m.Description, m.Tags) + 128*int64(len(m.Aliases))
}

// Footprint is about how many bytes of memory the tenant takes.
func (t *TenantInfo) Footprint() int64 {
	n := 512 + footprint(t.Description, t.Tags) + 64*int64(len(t.Limits))
	if t.Signatures != nil {
		for _, key := range t.Signatures.Keys {
			n += int64(len(key))
		}
	}
	return n
}
