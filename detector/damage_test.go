package detector_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"modelbucket/blob"
	"modelbucket/detector"
	"modelbucket/registry"
)

// long tells whether the long forms of tests are asked for.
func long() bool { return os.Getenv("MODELBUCKET_TEST_LONG") == "1" }

func write(t testing.TB, b blob.Bucket, key string, data []byte) {
	t.Helper()
	if _, err := b.Put(context.Background(), key, bytes.NewReader(data), blob.PutOptions{Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
}

// A harm changes the object under a key, and perhaps another one; it returns what lies
// there instead.
type harm struct {
	name string
	do   func(e *estate, t testing.TB, r *rand.Rand, key string) map[string][]byte
}

func one(f func(r *rand.Rand, data []byte) []byte) func(*estate, testing.TB, *rand.Rand, string) map[string][]byte {
	return func(e *estate, _ testing.TB, r *rand.Rand, key string) map[string][]byte {
		return map[string][]byte{key: f(r, bytes.Clone(e.objects[key]))}
	}
}

var harms = []harm{
	{"bit flip", one(func(r *rand.Rand, data []byte) []byte {
		data[r.IntN(len(data))] ^= 1 << r.IntN(8)
		return data
	})},
	{"byte flip", one(func(r *rand.Rand, data []byte) []byte {
		data[r.IntN(len(data))] ^= byte(1 + r.IntN(255))
		return data
	})},
	{"truncation", one(func(r *rand.Rand, data []byte) []byte { return data[:1+r.IntN(len(data)-1)] })},
	{"extension", one(func(r *rand.Rand, data []byte) []byte {
		more := []byte(" \n\t\x00}x")
		for range 1 + r.IntN(16) {
			data = append(data, more[r.IntN(len(more))])
		}
		return data
	})},
	{"empty", one(func(*rand.Rand, []byte) []byte { return nil })},
	{"swap with a sibling", func(e *estate, t testing.TB, r *rand.Rand, key string) map[string][]byte {
		with := e.siblings(t, key, true)
		if len(with) == 0 { // the only one of its kind: with any other object of its tenant, or the system's
			tenant, _, _ := strings.Cut(key, "/")
			with = slices.DeleteFunc(slices.Clone(e.keys), func(k string) bool {
				return k == key || kindOf(t, k) == "upload" || !strings.HasPrefix(k, tenant+"/")
			})
		}
		other := with[r.IntN(len(with))]
		return map[string][]byte{key: e.objects[other], other: e.objects[key]}
	}},
	{"another tenant's", func(e *estate, t testing.TB, r *rand.Rand, key string) map[string][]byte {
		from := e.siblings(t, key, false)
		if len(from) == 0 { // no tenant's: any other object
			from = slices.DeleteFunc(slices.Clone(e.keys), func(k string) bool { return k == key })
		}
		return map[string][]byte{key: e.objects[from[r.IntN(len(from))]]}
	}},
}

// damaged is what came of one corruption.
type damaged struct {
	readers int // that met the object, and refused it
	scores  int // that were right
	refused int // that there were not, for the object
}

// suffer makes one corruption and looks at all that could notice it, and at all that
// must not.
func (e *estate) suffer(t testing.TB, bucket *blob.Memory, key string, with map[string][]byte, random *rand.Rand) (d damaged, err error) {
	ctx := context.Background()
	r, err := registry.Open(ctx, bucket, registry.Options{})
	if err != nil {
		return d, err
	}
	for k, data := range with {
		write(t, bucket, k, data)
	}
	defer func() {
		err = errors.Join(err, r.Close(ctx))
		for k := range with {
			write(t, bucket, k, e.objects[k])
		}
	}()
	o := registry.CheckOptions{Digests: true}
	if t := registry.Tenant(strings.SplitN(key, "/", 2)[0]); slices.Contains(tenants, t) {
		o.Tenant = t
	}
	report, err := r.Check(ctx, o)
	if err != nil {
		return d, fmt.Errorf("check: %w", err)
	}
	for k := range with {
		if i := slices.IndexFunc(report.Problems, func(p registry.Problem) bool { return p.Key == k }); i < 0 || report.Problems[i].Advice == "" {
			return d, fmt.Errorf("check does not name %s, or not what can be done: %+v", k, report.Problems)
		}
	}
	for k := range with {
		err := e.use(ctx, r, kindOf(t, k), k)
		if errors.Is(err, errNoReader) {
			continue
		}
		d.readers++
		if !errors.Is(err, registry.ErrCorrupt) || !slices.ContainsFunc(keysOf(with), func(k string) bool { return strings.Contains(err.Error(), k) }) {
			return d, fmt.Errorf("who reads %s is told: %v", k, err)
		}
	}
	// One detector of the tenant whose object it is, by a random name: no score, or the right one.
	tenant := registry.Tenant(strings.SplitN(key, "/", 2)[0])
	selectors := []registry.Selector{{}, {Number: 1}, {Number: 3}, {Label: "v1"}, {Label: "v3"}, {Alias: "champion"}}
	ref := registry.Ref{Tenant: tenant, Model: model, Selector: selectors[random.IntN(len(selectors))]}
	if slices.Contains(tenants, tenant) {
		switch err := e.score(ctx, r, ref); {
		case err == nil:
			d.scores++
		case errors.Is(err, registry.ErrCorrupt):
			d.refused++
		default:
			return d, fmt.Errorf("score with %s: %w", ref, err)
		}
	}
	// The others do not notice.
	for _, other := range tenants {
		touched := slices.ContainsFunc(keysOf(with), func(k string) bool { return strings.HasPrefix(k, string(other)+"/") })
		if touched {
			continue
		}
		ref.Tenant = other
		if err := e.score(ctx, r, ref); err != nil {
			return d, fmt.Errorf("%s, which has nothing to do with it: %w", ref, err)
		}
		d.scores++
	}
	return d, nil
}

func keysOf(m map[string][]byte) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

var errWrongScore = errors.New("WRONG SCORE")

// score scores with the version that ref names.
func (e *estate) score(ctx context.Context, r *registry.Registry, ref registry.Ref) error {
	v, err := r.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	d, err := detector.Load(ctx, r, v)
	if err != nil {
		return err
	}
	got := make([]float64, 1)
	d.Score(got, e.row)
	if want, ok := e.scores[v.Ref()]; !ok || got[0] != want {
		return fmt.Errorf("%w: %s gives %v, want %v", errWrongScore, v.Ref(), got[0], want)
	}
	return nil
}

// TestDamageMatrix: each kind of object, harmed in each way, is refused by who reads it
// and named by check; nothing else is the worse for it.
func TestDamageMatrix(t *testing.T) {
	e := newEstate(t)
	bucket := e.bucket(t)
	random := rand.New(rand.NewPCG(1, 1))
	cells, all := map[string]bool{}, damaged{}
	for _, key := range e.keys {
		kind := kindOf(t, key)
		if kind == "upload" {
			continue
		}
		for _, h := range harms {
			with := h.do(e, t, random, key)
			if bytes.Equal(with[key], e.objects[key]) {
				t.Fatalf("%s of %s changed nothing", h.name, key)
			}
			d, err := e.suffer(t, bucket, key, with, random)
			if err != nil {
				t.Errorf("%s of %s: %v", h.name, key, err)
			}
			cells[kind+" × "+h.name] = true
			all.readers, all.scores, all.refused = all.readers+d.readers, all.scores+d.scores, all.refused+d.refused
		}
	}
	if want := (len(kinds) - 1) * len(harms); len(cells) != want {
		t.Errorf("%d cells, want %d", len(cells), want)
	}
	r, err := registry.Open(t.Context(), bucket, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if report, err := r.Check(t.Context(), registry.CheckOptions{Digests: true}); err != nil || !report.OK {
		t.Errorf("with all put back: %+v, %v", report, err)
	}
	t.Logf("corrupt.cells %d of %d kinds × %d harms; %d readers refused, %d right scores, %d refused", len(cells), len(kinds)-1, len(harms), all.readers, all.scores, all.refused)
}

// TestDamageRandom harms random objects in random ways: 1,500 times, in the long form a
// million times.
func TestDamageRandom(t *testing.T) {
	n := 1500
	if long() {
		n = 1_000_000
	}
	e := newEstate(t)
	var objects []string
	for _, key := range e.keys {
		if kindOf(t, key) != "upload" {
			objects = append(objects, key)
		}
	}
	const seed = 5
	workers := runtime.GOMAXPROCS(0)
	var mu sync.Mutex
	var all damaged
	tried, missed, wrong := 0, 0, 0
	perKind := map[string]int{}
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			bucket := e.bucket(t)
			random := rand.New(rand.NewPCG(seed, uint64(w)))
			for i := w; i < n; i += workers {
				key := objects[random.IntN(len(objects))]
				h := harms[random.IntN(len(harms))]
				d, err := e.suffer(t, bucket, key, h.do(e, t, random, key), random)
				mu.Lock()
				if tried++; tried%100_000 == 0 {
					t.Logf("%d tried, %d not noticed, %d wrong scores", tried, missed, wrong)
				}
				perKind[kindOf(t, key)]++
				all.readers, all.scores, all.refused = all.readers+d.readers, all.scores+d.scores, all.refused+d.refused
				switch {
				case errors.Is(err, errWrongScore):
					wrong++
				case err != nil:
					missed++
				}
				if err != nil && wrong+missed <= 10 {
					t.Errorf("seed %d/%d, try %d, %s of %s: %v", seed, w, i, h.name, key, err)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for _, k := range kinds {
		if k.name != "upload" && perKind[k.name] == 0 {
			t.Errorf("no object of the kind %s was harmed", k.name)
		}
	}
	if tried != n || missed+wrong > 0 {
		t.Errorf("%d tried, %d not noticed, %d wrong scores", tried, missed, wrong)
	}
	t.Logf("corrupt.tried %d, corrupt.detected %d, corrupt.wrong_scores %d (%d readers refused, %d right scores, %d refused), seed %d", tried, tried-missed-wrong, wrong, all.readers, all.scores, all.refused, seed)
}
