package registrytest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"modelbucket/blob"
)

// door stands between a registry and its bucket, and may lie in both directions. A nil
// function does not.
type door struct {
	blob.Bucket
	put    func(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error)
	get    func(ctx context.Context, key string) ([]byte, blob.Object, error)
	stat   func(ctx context.Context, key string) (blob.Object, error)
	list   func(ctx context.Context, o blob.ListOptions) (blob.Page, error)
	delete func(ctx context.Context, key string) error
}

func (d *door) Put(ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return blob.Object{}, err
	}
	if d.put == nil {
		return d.honestPut(ctx, key, data, o)
	}
	return d.put(ctx, key, data, o)
}

func (d *door) honestPut(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error) {
	o.Size = int64(len(data))
	return d.Bucket.Put(ctx, key, bytes.NewReader(data), o)
}

func (d *door) Get(ctx context.Context, key string, part blob.Range) (io.ReadCloser, blob.Object, error) {
	if d.get == nil || part != (blob.Range{}) {
		return d.Bucket.Get(ctx, key, part)
	}
	data, o, err := d.get(ctx, key)
	if err != nil {
		return nil, blob.Object{}, err
	}
	o.Size = int64(len(data))
	return io.NopCloser(bytes.NewReader(data)), o, nil
}

func (d *door) honestGet(ctx context.Context, key string) ([]byte, blob.Object, error) {
	body, o, err := d.Bucket.Get(ctx, key, blob.Range{})
	if err != nil {
		return nil, o, err
	}
	data, err := io.ReadAll(body)
	return data, o, err
}

func (d *door) Stat(ctx context.Context, key string) (blob.Object, error) {
	if d.stat == nil {
		return d.Bucket.Stat(ctx, key)
	}
	return d.stat(ctx, key)
}

func (d *door) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	if d.list == nil {
		return d.Bucket.List(ctx, o)
	}
	return d.list(ctx, o)
}

func (d *door) Delete(ctx context.Context, key string) error {
	if d.delete == nil {
		return d.Bucket.Delete(ctx, key)
	}
	return d.delete(ctx, key)
}

// What keys are of. Only the registry builds keys; these recognize them.

func isTombstone(key string) bool { return strings.HasSuffix(key, ".tombstone.json") }
func isAlias(key string) bool     { return strings.Contains(key, "/_aliases/") }
func isIntent(key string) bool    { return strings.Contains(key, "/_uploads/") }
func isTrash(key string) bool     { return strings.Contains(key, "/_trash/") }
func isLabel(key string) bool     { return strings.Contains(key, "/_labels/") }
func isOperation(key string) bool { return strings.Contains(key, "/_operations/") }
func isModel(key string) bool     { return strings.HasSuffix(key, "/_model.json") }
func isMetadata(key string) bool  { return strings.HasSuffix(key, "/metadata.json") }
func isClock(key string) bool     { return strings.HasPrefix(key, "_system/gc/") }
func isLog(key string) bool       { return strings.Contains(key, "/_versions/") }
func isFile(key string) bool      { return strings.Contains(key, "/file-") }
func isAttributes(key string) bool {
	return strings.HasSuffix(key, ".attributes.json")
}

var recordName = regexp.MustCompile(`^(.*/)[0-9]{6}/[0-9]{3}-([0-9]+)\.json$`)

// nextRecord is the key of the record that follows.
func nextRecord(key string) string {
	m := recordName.FindStringSubmatch(key)
	if m == nil {
		return key
	}
	n, err := strconv.Atoi(m[2])
	if err != nil {
		return key
	}
	inverse := 999_999_999 - n - 1
	return fmt.Sprintf("%s%06d/%03d-%d.json", m[1], inverse/1000, inverse%1000, n+1)
}

// reseal changes fields of an envelope's body so that it is sound again.
func reseal(data []byte, change func(body map[string]any)) []byte {
	var envelope struct {
		Format int             `json:"format"`
		Key    string          `json:"key"`
		SHA256 string          `json:"sha256"`
		Body   json.RawMessage `json:"body"`
	}
	var body map[string]any
	if json.Unmarshal(data, &envelope) != nil || json.Unmarshal(envelope.Body, &body) != nil {
		return data // damaged on the line
	}
	change(body)
	raw, err := json.Marshal(body)
	if err != nil {
		return data
	}
	sum := sha256.Sum256(raw)
	envelope.Body, envelope.SHA256 = raw, hex.EncodeToString(sum[:])
	if data, err = json.Marshal(envelope); err != nil {
		return nil
	}
	return data
}

// collecting tells whether a call is a collector's.
func collecting(ctx context.Context) bool {
	client, _ := ctx.Value(clientKey{}).(string)
	return strings.HasPrefix(client, "collector")
}

// behind does its writes later: when the node next asks the bucket something, if it ever
// does.
type behind struct {
	door
	mu      sync.Mutex // never held across a call: the scheduler would wait for ever
	waiting []func()
}

// flush sends what waits.
func (b *behind) flush() {
	b.mu.Lock()
	waiting := b.waiting
	b.waiting = nil
	b.mu.Unlock()
	for _, f := range waiting {
		f()
	}
}

// later takes a write that is to wait.
func (b *behind) later(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, func() {
		_, _ = b.honestPut(context.WithoutCancel(ctx), key, data, o) // nobody asks
	})
	return blob.Object{Key: key, Size: int64(len(data))}, nil
}

// remembered keeps answers for a while.
type remembered[T any] struct {
	mu    sync.Mutex
	at    map[string]time.Time
	value map[string]T
}

func (r *remembered[T]) get(key string, ask func() (T, error)) (T, error) {
	r.mu.Lock()
	if r.at == nil {
		r.at, r.value = map[string]time.Time{}, map[string]T{}
	}
	at, known := r.at[key]
	value := r.value[key]
	r.mu.Unlock()
	if known && time.Since(at) < time.Second {
		return value, nil
	}
	value, err := ask()
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.at[key], r.value[key] = time.Now(), value
	}
	return value, err
}
