// Package blobtest holds what the tests of every package need of a store: the
// acceptance suite (Run), a bucket and a proxy that fail on purpose (Faulty, Proxy),
// and real S3 servers (StartVersityGW, StartMinIO).
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"modelbucket/blob"
)

// Run is the contract of blob.Bucket as a test. open gives an empty bucket each time.
func Run(t *testing.T, open func(*testing.T) blob.Bucket) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

type testCase struct {
	name string
	run  func(*testing.T, blob.Bucket)
}

var cases = []testCase{
	{"InvalidKeys", invalidKeys},
	{"InvalidOptions", invalidOptions},
	{"LongKeys", longKeys},
	{"UnusualKeys", unusualKeys},

	{"PutGetStat", putGetStat},
	{"AbsentKey", absentKey},
	{"Overwrite", overwrite},
	{"EmptyObject", emptyObject},
	{"ETag", etag},
	{"Modified", modified},
	{"Delete", deletes},
	{"DeletesAtOnce", deletesAtOnce},
	{"WrongSize", wrongSize},
	{"BodyFails", bodyFails},
	{"UnknownSize", unknownSize},
	{"LargeObjects", largeObjects},
	{"Ranges", ranges},
	{"RangeOfLarge", rangeOfLarge},
	{"ReadWhileReplaced", readWhileReplaced},
	{"AbortUploads", abortUploads},
	{"ManyAtOnce", manyAtOnce},
	{"Name", name},

	{"CreateOnce", createOnce},
	{"CreateOnceRace", createOnceRace},
	{"CompareAndSwap", compareAndSwap},
	{"CompareAndSwapRace", compareAndSwapRace},
	{"Counter", counter},
	{"ConditionalSizes", conditionalSizes},

	{"ListOrder", listOrder},
	{"ListPages", listPages},
	{"ListFolders", listFolders},
	{"ListFoldersByZero", listFoldersByZero},
	{"ListFolderBesideKey", listFolderBesideKey},
	{"ListStartAfter", listStartAfter},
	{"ListPrefix", listPrefix},
	{"ListEmpty", listEmpty},
	{"ListEmptiedFolder", listEmptiedFolder},
	{"ListEntries", listEntries},
	{"ListCounts", listCounts},
	{"ListManyFolders", listManyFolders},
	{"ListSeesAtOnce", listSeesAtOnce},
	{"ListWhileWriting", listWhileWriting},
	{"ListAtRandom", listAtRandom},

	{"ContextOver", contextOver},
	{"ContextOverInBody", contextOverInBody},
	{"ContextOverWhileReading", contextOverWhileReading},
}

// size of a body, in bytes, that drivers send in several requests.
const large = 20 << 20

func put(t *testing.T, b blob.Bucket, key, data string) blob.Object {
	t.Helper()
	o, err := b.Put(t.Context(), key, strings.NewReader(data), blob.PutOptions{Size: int64(len(data))})
	if err != nil {
		t.Fatalf("Put %s: %v", key, err)
	}
	return o
}

func putAll(t *testing.T, b blob.Bucket, keys ...string) {
	t.Helper()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, key := range keys {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if _, err := b.Put(t.Context(), key, strings.NewReader(key), blob.PutOptions{Size: int64(len(key))}); err != nil {
				t.Errorf("Put %s: %v", key, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func read(ctx context.Context, b blob.Bucket, key string, r blob.Range) ([]byte, blob.Object, error) {
	body, o, err := b.Get(ctx, key, r)
	if err != nil {
		return nil, o, err
	}
	data, err := io.ReadAll(body)
	return data, o, errors.Join(err, body.Close())
}

func wantContent(t *testing.T, b blob.Bucket, key, want string) {
	t.Helper()
	data, o, err := read(t.Context(), b, key, blob.Range{})
	switch {
	case err != nil:
		t.Fatalf("Get %s: %v", key, err)
	case !bytes.Equal(data, []byte(want)):
		t.Fatalf("Get %s: %s, want %s", key, short(data), short([]byte(want)))
	case o.Key != key || o.Size != int64(len(want)):
		t.Fatalf("Get %s: key %q and size %d, want size %d", key, o.Key, o.Size, len(want))
	}
}

func wantAbsent(t *testing.T, b blob.Bucket, key string) {
	t.Helper()
	_, err := b.Stat(t.Context(), key)
	wantError(t, "Stat "+key, err, blob.ErrNotFound)
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", what, err, want)
	}
}

func short(data []byte) string {
	if len(data) > 40 {
		return fmt.Sprintf("%d bytes beginning with %q", len(data), data[:40])
	}
	return fmt.Sprintf("%q", data)
}

// pattern makes n bytes in which no two places look alike for long.
func pattern(n int) []byte {
	data := make([]byte, n)
	x := uint32(2463534242)
	for i := range data {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		data[i] = byte(x)
	}
	return data
}

// onlyReader hides what else a reader can do.
type onlyReader struct{ io.Reader }
