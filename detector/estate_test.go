package detector_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/detector"
	"modelbucket/detector/forest"
	"modelbucket/registry"
)

// estate is a bucket with every kind of object in it, for two tenants alike, and what is
// known of it.
type estate struct {
	objects map[string][]byte
	keys    []string // of objects, sorted
	scores  map[registry.Ref]float64
	row     []float64
}

var tenants = []registry.Tenant{"acme", "bolt"}

// kinds of objects, told by their keys.
var kinds = []struct {
	name string
	key  *regexp.Regexp
}{
	{"format", regexp.MustCompile(`^_system/format\.json$`)},
	{"root token", regexp.MustCompile(`^_system/root_token\.json$`)},
	{"key", regexp.MustCompile(`^_system/keys/[0-9a-z]{10}\.json$`)},
	{"use of a key", regexp.MustCompile(`^_system/keys/_used/`)},
	{"entry of a key", regexp.MustCompile(`^_system/keys/_tenants/`)},
	{"epoch of keys", regexp.MustCompile(`^_system/keys/_epoch\.json$`)},
	{"audit log", regexp.MustCompile(`^[^/]+/_?audit/`)},
	{"tenant", regexp.MustCompile(`/_tenant\.json$`)},
	{"model", regexp.MustCompile(`/_model\.json$`)},
	{"attributes", regexp.MustCompile(`\.attributes\.json$`)},
	{"tombstone", regexp.MustCompile(`\.tombstone\.json$`)},
	{"record", regexp.MustCompile(`/_versions/`)},
	{"label", regexp.MustCompile(`/_labels/`)},
	{"operation", regexp.MustCompile(`/_operations/`)},
	{"alias", regexp.MustCompile(`/_aliases/`)},
	{"intent", regexp.MustCompile(`/_uploads/`)},
	{"trash", regexp.MustCompile(`/_trash/`)},
	{"metadata", regexp.MustCompile(`/metadata\.json$`)},
	{"file", regexp.MustCompile(`/model\.joblib$`)},
	{"upload", regexp.MustCompile(`/half$`)}, // a file of an upload under way: nothing knows its bytes yet
}

func kindOf(t testing.TB, key string) string {
	t.Helper()
	for _, k := range kinds {
		if k.key.MatchString(key) {
			return k.name
		}
	}
	t.Fatalf("no kind has the key %s", key)
	return ""
}

// newEstate publishes detectors, each with trees of its own, for each tenant: of the
// model fraud version 1 with a label, a description and an alias, 2 deleted, 3 with a key
// and a label; of the model other version 1, and an upload under way.
func newEstate(t testing.TB) *estate {
	t.Helper()
	ctx := context.Background()
	bucket := blob.NewMemory()
	r, err := registry.Open(ctx, bucket, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := &estate{objects: map[string][]byte{}, scores: map[registry.Ref]float64{}, row: []float64{98_000, 90, 7.5}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	seed := uint32(0)
	publish := func(p registry.Publication) *registry.Version {
		seed++
		p.By = "test"
		trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{
			Features:   []string{"bytes_transferred", "packet_count", "connection_duration"},
			Parameters: &forest.Params{Trees: 3, MaxSamples: forest.Size{Count: 32}, RandomState: seed},
		})
		v, err := trained.Publish(ctx, r, p)
		must(err)
		score := make([]float64, 1)
		trained.Detector.Score(score, e.row)
		e.scores[v.Ref()] = score[0]
		return v
	}
	_, err = r.RootToken(ctx, "")
	must(err)
	for _, tenant := range tenants {
		_, err := r.UpdateTenant(ctx, tenant, registry.Change{Description: new("tenant " + string(tenant))})
		must(err)
		first := publish(registry.Publication{Tenant: tenant, Model: model, Label: "v1", Aliases: []registry.Alias{"champion", "stable"}})
		_, err = r.UpdateVersion(ctx, first.Ref(), registry.Change{Description: new("the first of " + string(tenant))})
		must(err)
		second := publish(registry.Publication{Tenant: tenant, Model: model})
		_, err = r.DeleteVersion(ctx, second.Ref(), registry.Deletion{By: "test"})
		must(err)
		delete(e.scores, second.Ref())
		publish(registry.Publication{Tenant: tenant, Model: model, Label: "v3", Key: "once"})
		publish(registry.Publication{Tenant: tenant, Model: "other"})
		u, err := r.Begin(ctx, registry.Publication{Tenant: tenant, Model: model, By: "test"})
		must(err)
		_, err = u.File(ctx, "half", strings.NewReader("half a model"), -1, "")
		must(err)
		for range 2 {
			k, _, err := r.CreateKey(ctx, registry.NewKey{Tenant: tenant, Role: registry.Writer, By: "test"})
			must(err)
			must(r.NoteKeyUse(ctx, k.ID))
			_, err = r.RevokeKey(ctx, registry.Revocation{ID: k.ID, By: "test"})
			must(err)
		}
	}
	caller := registry.WithCaller(ctx, registry.Caller{Name: "test"})
	for _, tenant := range tenants {
		for range 2 {
			_, err := r.SetAlias(caller, tenant, model, "stable", registry.AliasChange{To: 3})
			must(err)
		}
	}
	r.Refused(registry.AuditRecord{Client: "192.0.2.1", Count: 1})
	must(r.Close(ctx))
	page, err := bucket.List(ctx, blob.ListOptions{})
	must(err)
	for _, o := range page.Objects {
		body, _, err := bucket.Get(ctx, o.Key, blob.Range{})
		must(err)
		e.objects[o.Key], err = io.ReadAll(body)
		must(err)
	}
	e.keys = slices.Sorted(maps.Keys(e.objects))
	return e
}

// bucket is a fresh copy of the estate.
func (e *estate) bucket(t testing.TB) *blob.Memory {
	t.Helper()
	b := blob.NewMemory()
	for key, data := range e.objects {
		write(t, b, key, data)
	}
	return b
}

// siblings are the other keys of the same kind, with the tenant's prefix or another's.
func (e *estate) siblings(t testing.TB, key string, same bool) (found []string) {
	tenant, _, _ := strings.Cut(key, "/")
	for _, other := range e.keys {
		if other != key && kindOf(t, other) == kindOf(t, key) && strings.HasPrefix(other, tenant+"/") == same {
			found = append(found, other)
		}
	}
	return found
}

// versionAt is the reference of the version that a key below acme/fraud belongs to.
func (e *estate) versionAt(ctx context.Context, r *registry.Registry, key string) (*registry.Version, error) {
	parts := strings.SplitN(key, "/", 3)
	page, err := r.Versions(ctx, registry.Tenant(parts[0]), registry.Model(parts[1]), registry.VersionQuery{Deleted: true})
	if err != nil {
		return nil, err
	}
	for _, v := range page.Versions {
		if strings.HasPrefix(parts[2], string(v.ID)+"/") {
			return v, nil
		}
	}
	return nil, fmt.Errorf("no version has %s", key)
}

// use asks for what the object under key says, as its readers do.
func (e *estate) use(ctx context.Context, r *registry.Registry, kind, key string) error {
	parts := strings.Split(key, "/")
	tenant, last := registry.Tenant(parts[0]), strings.TrimSuffix(parts[len(parts)-1], ".json")
	model := registry.Model("")
	if len(parts) > 2 {
		model = registry.Model(parts[1])
	}
	at := func(s registry.Selector) registry.Ref { return registry.Ref{Tenant: tenant, Model: model, Selector: s} }
	var err error
	switch kind {
	case "format":
		_, err = registry.Open(ctx, r.Bucket(), registry.Options{})
	case "root token":
		_, err = r.RootToken(ctx, "")
	case "key":
		_, err = r.Key(ctx, registry.KeyID(last))
	case "use of a key":
		var k *registry.Key
		if k, err = r.Key(ctx, registry.KeyID(last)); err == nil {
			_, err = r.Keys(ctx, registry.KeyQuery{Tenant: *k.Tenant})
		}
	case "epoch of keys":
		_, err = r.KeyEpoch(ctx)
	case "audit log":
		if tenant == "_system" {
			tenant = ""
		}
		_, err = r.Audit(ctx, registry.AuditQuery{Tenant: tenant})
	case "tenant":
		_, err = r.Tenant(ctx, tenant)
	case "model":
		_, err = r.Model(ctx, tenant, model)
	case "alias":
		_, err = r.Alias(ctx, tenant, model, registry.Alias(last))
	case "label":
		_, err = r.Resolve(ctx, at(registry.Selector{Label: registry.Label(last)}))
	case "operation":
		var u *registry.Upload
		if u, err = r.Begin(ctx, registry.Publication{Tenant: tenant, Model: model, Key: "once"}); err == nil {
			u.Abort()
		}
	case "record", "attributes", "tombstone", "metadata":
		_, err = r.Versions(ctx, tenant, model, registry.VersionQuery{Deleted: true})
	case "file":
		var v *registry.Version
		if v, err = e.versionAt(ctx, r, key); err == nil {
			_, err = detector.Load(ctx, r, v)
		}
	default: // intent, trash: read by the collector alone, see registry's tests; of an entry its name alone
		return errNoReader
	}
	return err
}

var errNoReader = fmt.Errorf("nothing reads it")
