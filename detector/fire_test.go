package detector_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/detector"
	"modelbucket/detector/forest"
	"modelbucket/registry"
)

// sharing is a bucket in memory that keeps equal artifacts once, so that ten thousand
// versions of a few fit.
type sharing struct {
	*blob.Memory

	mu       sync.Mutex
	contents map[[sha256.Size]byte][]byte
	of       map[string][]byte // artifacts by key
}

func (s *sharing) Put(ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
	if !artifacts.MatchString(key) {
		return s.Memory.Put(ctx, key, body, o)
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return blob.Object{}, err
	}
	s.keep(key, data)
	o.Size = 0
	object, err := s.Memory.Put(ctx, key, strings.NewReader(""), o)
	object.Size = int64(len(data))
	return object, err
}

func (s *sharing) keep(key string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := sha256.Sum256(data)
	if s.contents[sum] == nil {
		s.contents[sum] = data
	}
	s.of[key] = s.contents[sum]
}

func (s *sharing) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Object, error) {
	body, o, err := s.Memory.Get(ctx, key, blob.Range{})
	s.mu.Lock()
	data, ok := s.of[key]
	s.mu.Unlock()
	if !ok || err != nil {
		return body, o, err
	}
	o.Size = int64(len(data))
	data = data[r.Offset:]
	if r.Length > 0 {
		data = data[:r.Length]
	}
	return io.NopCloser(bytes.NewReader(data)), o, nil
}

// TestPoolManyDetectors: more detectors than fit, asked for by many at once, while loads
// are cancelled, fail, come damaged, and some artifacts are damaged for good. Each answer
// is the right detector's; the budget holds at every moment; nothing is left, no
// goroutine either, for the bubble's end waits for all. The long form has 10,000 detectors of the usual size in 256 MiB.
func TestPoolManyDetectors(t *testing.T) {
	versions, trees, askers, requests := 300, 5, 32, 150
	if long() {
		versions, trees, askers, requests = 10_000, 100, 64, 1000
	}
	synctest.Test(t, func(t *testing.T) {
		store := &sharing{Memory: blob.NewMemory(), contents: map[[sha256.Size]byte][]byte{}, of: map[string][]byte{}}
		faulty := blobtest.NewFaulty(store, 1)
		r, err := registry.Open(t.Context(), faulty, registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		row := []float64{98_000, 90, 7.5}
		const kinds = 16
		var trained [kinds]*detector.Trained
		var scores [kinds]float64
		for i := range trained {
			trained[i] = mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{
				Features:   []string{"bytes_transferred", "packet_count", "connection_duration"},
				Parameters: &forest.Params{Trees: trees, RandomState: uint32(i)},
			})
			score := make([]float64, 1)
			trained[i].Detector.Score(score, row)
			scores[i] = score[0]
		}
		all := make([]*registry.Version, versions)
		broken := map[registry.Number]bool{}
		for i := range all {
			if all[i], err = trained[i%kinds].Publish(t.Context(), r, registry.Publication{Tenant: tenant, Model: model, By: "test"}); err != nil {
				t.Fatal(err)
			}
			if i%100 == 7 { // for good
				key := fmt.Sprintf("%s/%s/%s/%s", tenant, model, all[i].ID, detector.ArtifactName)
				data := bytes.Clone(store.of[key])
				data[len(data)/3] ^= 2 // Flip, which hits the middle, must not undo it
				store.keep(key, data)
				broken[all[i].Version] = true
			}
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		budget := int64(256 << 20)
		if !long() {
			budget = int64(versions) * trained[0].Detector.Bytes() / 3
		}
		p := detector.NewPool(r, detector.PoolOptions{Bytes: budget})
		defer p.Close()
		faulty.SetRules(
			blobtest.Rule{Fault: blobtest.Before, Key: artifacts, Probability: 0.05},
			blobtest.Rule{Fault: blobtest.Flip, Key: artifacts, Probability: 0.05},
			blobtest.Rule{Fault: blobtest.Cut, Key: artifacts, Probability: 0.05},
			blobtest.Rule{Fault: blobtest.Slow, Key: artifacts, Probability: 0.2, Delay: 20 * time.Millisecond},
		)
		many := make([]float64, 5000*len(row))
		for i := range many {
			many[i] = row[i%len(row)]
		}
		var mu sync.Mutex
		served, cancelled, corrupt, failed, shed, most := 0, 0, 0, 0, 0, int64(0)
		asked := make([]bool, versions)
		var group sync.WaitGroup
		for asker := range askers {
			random := rand.New(rand.NewPCG(9, uint64(asker)))
			group.Go(func() {
				for i := range requests {
					n := (asker*(requests/3) + i/3) % versions // each is asked for …
					if i%3 > 0 {
						n = random.IntN(1 + random.IntN(versions)) // … and some more often
					}
					v := all[n]
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+random.IntN(100))*time.Millisecond)
					d, release, err := p.Get(ctx, v)
					cancel()
					if err == nil {
						score := make([]float64, 1)
						d.Score(score, row)
						if d.Version() != v.Version || score[0] != scores[n%kinds] || broken[v.Version] {
							t.Errorf("version %d: got version %d with score %v, want %v", v.Version, d.Version(), score[0], scores[n%kinds])
						}
						if random.IntN(50) == 0 { // enough to have tables made
							d.Score(make([]float64, 5000), many)
						}
						time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
						release()
					}
					if random.IntN(20) == 0 {
						p.Unload(v)
					}
					stats := p.Stats()
					mu.Lock()
					asked[n] = true
					most = max(most, stats.Bytes)
					switch {
					case err == nil:
						served++
					case errors.Is(err, context.DeadlineExceeded):
						cancelled++
					case errors.Is(err, registry.ErrCorrupt):
						corrupt++
						if !strings.Contains(err.Error(), string(v.ID)) {
							t.Errorf("the damaged object is not named: %v", err)
						}
					case errors.Is(err, blob.ErrUnavailable):
						failed++
					case errors.Is(err, detector.ErrTooMany): // loads that nobody waits for any more fill the queue
						shed++
					default:
						t.Errorf("got %v", err)
					}
					if stats.Bytes > stats.Budget {
						t.Errorf("over the budget: %+v", stats)
					}
					mu.Unlock()
					if errors.Is(err, detector.ErrTooMany) {
						time.Sleep(time.Second)
					}
				}
			})
		}
		group.Wait()
		faulty.SetRules()
		time.Sleep(time.Minute) // loads whose askers have left
		synctest.Wait()
		stats := p.Stats()
		var listed int64
		for _, l := range p.List() {
			listed += l.Bytes
		}
		if stats.InUse != 0 || stats.Bytes != listed || stats.Evictions == 0 || served == 0 || cancelled == 0 || corrupt == 0 || failed == 0 {
			t.Errorf("%d served, %d cancelled, %d corrupt, %d failed, %d bytes listed, stats %+v", served, cancelled, corrupt, failed, listed, stats)
		}
		for n, ok := range asked {
			if !ok {
				t.Fatalf("version %d was never asked for", n+1)
			}
		}
		// A thousand first requests at once: one load, be it whole or damaged.
		for _, v := range []*registry.Version{all[versions-1], all[7]} {
			p.Unload(v)
			time.Sleep(2 * time.Second)
			before := p.Stats().Loads
			for range 1000 {
				group.Go(func() {
					_, release, err := p.Get(t.Context(), v)
					if err == nil {
						release()
					}
					if broken[v.Version] != errors.Is(err, registry.ErrCorrupt) || err != nil && !broken[v.Version] {
						t.Errorf("version %d: %v", v.Version, err)
					}
				})
			}
			group.Wait()
			if n := p.Stats().Loads - before; n != 1 {
				t.Errorf("version %d: %d loads for 1,000 first requests", v.Version, n)
			}
		}
		stats = p.Stats()
		t.Logf("cache.detectors %d, cache.bytes_max %d of %d; %d served, %d cancelled, %d corrupt, %d failed, %d shed; %d loads, %d evictions; cold.requests 1,000 / loads 1",
			versions, most, budget, served, cancelled, corrupt, failed, shed, stats.Loads, stats.Evictions)
	})
}
