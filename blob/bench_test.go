package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
)

// BenchmarkCalls times one small call at a time:
//
//	go test ./blob -run '^$' -bench Calls
func BenchmarkCalls(b *testing.B) {
	ctx := b.Context()
	server := blobtest.StartVersityGW(b)
	for _, store := range []string{"memory:", "dir:" + b.TempDir(), server.NewBucket(b)} {
		bucket, err := blob.Open(ctx, store, blob.Options{})
		if err != nil {
			b.Fatal(err)
		}
		name, _, _ := strings.Cut(store, ":")
		record := strings.Repeat("x", 500)
		put := func(key string, o blob.PutOptions) error {
			o.Size = int64(len(record))
			_, err := bucket.Put(ctx, key, strings.NewReader(record), o)
			return err
		}
		if err := put("k", blob.PutOptions{}); err != nil {
			b.Fatal(err)
		}
		n := 0
		for _, c := range []struct {
			name string
			call func() error
		}{
			{"put", func() error { return put("k", blob.PutOptions{}) }},
			{"create", func() error { n++; return put(fmt.Sprintf("create/%d", n), blob.PutOptions{IfAbsent: true}) }},
			{"get", func() error {
				body, _, err := bucket.Get(ctx, "k", blob.Range{})
				if err != nil {
					return err
				}
				defer body.Close()
				_, err = io.Copy(io.Discard, body)
				return err
			}},
			{"stat", func() error { _, err := bucket.Stat(ctx, "k"); return err }},
			{"list1", func() error { _, err := bucket.List(ctx, blob.ListOptions{Limit: 1}); return err }},
			{"delete", func() error { return bucket.Delete(ctx, "absent") }},
		} {
			b.Run(name+"/"+c.name, func(b *testing.B) {
				for b.Loop() {
					if err := c.call(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// transfer is the size of the objects that BenchmarkTransfer moves, in bytes.
const transfer = 256 << 20

// stream reads like a socket: it can't be rewound or read at an offset.
func stream(block []byte) io.Reader {
	var parts []io.Reader
	for n := 0; n < transfer; n += len(block) {
		parts = append(parts, bytes.NewReader(block))
	}
	return struct{ io.Reader }{io.MultiReader(parts...)}
}

// BenchmarkTransfer moves large objects with SHA-256 on the way, through Bucket and
// through minio-go as it comes:
//
//	go test ./blob -run '^$' -bench Transfer -benchtime 4x
func BenchmarkTransfer(b *testing.B) {
	server := blobtest.StartVersityGW(b)
	store := server.NewBucket(b)
	u, err := url.Parse(store)
	if err != nil {
		b.Fatal(err)
	}
	bucket, err := blob.Open(b.Context(), store, blob.Options{})
	if err != nil {
		b.Fatal(err)
	}
	bare := rawClient(b, server)
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, c := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"put/bucket", func(ctx context.Context) error {
			_, err := bucket.Put(ctx, "k", io.TeeReader(stream(block), sha256.New()), blob.PutOptions{Size: transfer})
			return err
		}},
		{"put/bare", func(ctx context.Context) error {
			_, err := bare.Client.PutObject(ctx, u.Host, "bare", io.TeeReader(stream(block), sha256.New()), transfer, minio.PutObjectOptions{})
			return err
		}},
		{"get/bucket", func(ctx context.Context) error {
			body, _, err := bucket.Get(ctx, "k", blob.Range{})
			if err != nil {
				return err
			}
			defer body.Close()
			_, err = io.Copy(sha256.New(), body)
			return err
		}},
		{"get/bare", func(ctx context.Context) error {
			body, err := bare.Client.GetObject(ctx, u.Host, "bare", minio.GetObjectOptions{})
			if err != nil {
				return err
			}
			defer body.Close()
			_, err = io.Copy(sha256.New(), body)
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(transfer)
			for b.Loop() {
				if err := c.run(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
