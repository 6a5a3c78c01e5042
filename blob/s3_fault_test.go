package blob_test

import (
	"context"
	"errors"
	"io"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
)

// What is in the store, or is written, in the tests of faults. large takes three parts.
var (
	small = "content"
	large = strings.Repeat("0123456789abcdef", 17<<20/16)
)

// The calls in which something goes wrong.

func create(ctx context.Context, b blob.Bucket) error {
	_, err := b.Put(ctx, "k", strings.NewReader(small), blob.PutOptions{Size: int64(len(small)), IfAbsent: true})
	return err
}

func putStream(content string) func(context.Context, blob.Bucket) error {
	return func(ctx context.Context, b blob.Bucket) error {
		_, err := b.Put(ctx, "k", iotest.DataErrReader(strings.NewReader(content)), blob.PutOptions{Size: int64(len(content))})
		return err
	}
}

func readLarge(ctx context.Context, b blob.Bucket) error {
	body, _, err := b.Get(ctx, "k", blob.Range{})
	if err != nil {
		return err
	}
	data, err := io.ReadAll(body)
	if err == nil && string(data) != large {
		err = errors.New("wrong bytes")
	}
	return errors.Join(err, body.Close())
}

func stat(ctx context.Context, b blob.Bucket) error { _, err := b.Stat(ctx, "k"); return err }

func list(ctx context.Context, b blob.Bucket) error {
	page, err := b.List(ctx, blob.ListOptions{})
	if err == nil && len(page.Objects) != 1 {
		err = errors.New("a short list")
	}
	return err
}

func remove(ctx context.Context, b blob.Bucket) error { return b.Delete(ctx, "k") }

// faultCase: with one rule in the proxy, a call that finds before in the store returns
// want and leaves after there.
type faultCase struct {
	name   string
	rule   blobtest.ProxyRule
	before string
	call   func(context.Context, blob.Bucket) error
	want   error
	after  string
}

var (
	onPart     = regexp.MustCompile(`partNumber=2`)
	onComplete = regexp.MustCompile(`\?uploadId=`)
	onBegin    = regexp.MustCompile(`\?uploads=`)
	onList     = regexp.MustCompile(`list-type=2`)
)

func once(f blobtest.ProxyFault, method string, url *regexp.Regexp) blobtest.ProxyRule {
	return blobtest.ProxyRule{Fault: f, Method: method, URL: url, Nth: 1}
}

func ever(f blobtest.ProxyFault, method string, url *regexp.Regexp) blobtest.ProxyRule {
	return blobtest.ProxyRule{Fault: f, Method: method, URL: url}
}

var faultCases = []faultCase{
	// A conditional write is sent once: an unclear answer is never made a clear one.
	{"create, answer lost", once(blobtest.CommitThenReset, "PUT", nil), "", create, blob.ErrUnavailable, small},
	{"create, 500 after", once(blobtest.CommitThen500, "PUT", nil), "", create, blob.ErrUnavailable, small},
	{"create, 503 after", once(blobtest.CommitThen503, "PUT", nil), "", create, blob.ErrUnavailable, small},
	{"create, no answer", once(blobtest.CommitThenHang, "PUT", nil), "", create, context.DeadlineExceeded, small},
	{"create, 503 before", once(blobtest.Answer503, "PUT", nil), "", create, blob.ErrUnavailable, ""},
	{"create, 500 before", once(blobtest.Answer500, "PUT", nil), "", create, blob.ErrUnavailable, ""},
	{"create, reset before", once(blobtest.ResetBefore, "PUT", nil), "", create, blob.ErrUnavailable, ""},
	{"create, reset in its body", once(blobtest.ResetInBody, "PUT", nil), "", create, blob.ErrUnavailable, ""},
	{"create, hang", once(blobtest.Hang, "PUT", nil), "", create, context.DeadlineExceeded, ""},
	{"create, 403", once(blobtest.Answer403, "PUT", nil), "", create, blob.ErrDenied, ""},
	{"create, 409 of two that met", once(blobtest.Answer409, "PUT", nil), "", create, nil, small},
	{"create, sent twice", once(blobtest.Twice, "PUT", nil), "", create, blob.ErrPrecondition, small},

	// A plain write is sent again by the driver, which alone has the bytes.
	{"put, answer lost", once(blobtest.CommitThenReset, "PUT", nil), "old", putStream(small), nil, small},
	{"put, 503 before", once(blobtest.Answer503, "PUT", nil), "old", putStream(small), nil, small},
	{"put, reset in its body", once(blobtest.ResetInBody, "PUT", nil), "old", putStream(small), nil, small},
	{"put, always 503", ever(blobtest.Answer503, "PUT", nil), "old", putStream(small), blob.ErrUnavailable, "old"},
	{"put, 403", ever(blobtest.Answer403, "PUT", nil), "old", putStream(small), blob.ErrDenied, "old"},

	// A large one too, part by part; it is there whole or not at all.
	{"parts, 503 at first", once(blobtest.Answer503, "POST", onBegin), "", putStream(large), nil, large},
	{"parts, one 503", once(blobtest.Answer503, "PUT", onPart), "", putStream(large), nil, large},
	{"parts, one reset in its body", once(blobtest.ResetInBody, "PUT", onPart), "", putStream(large), nil, large},
	{"parts, one answer lost", once(blobtest.CommitThenReset, "PUT", onPart), "", putStream(large), nil, large},
	{"parts, one always 503", ever(blobtest.Answer503, "PUT", onPart), "old", putStream(large), blob.ErrUnavailable, "old"},
	{"parts, one 403", ever(blobtest.Answer403, "PUT", onPart), "old", putStream(large), blob.ErrDenied, "old"},
	{"parts, 503 before joining", once(blobtest.Answer503, "POST", onComplete), "", putStream(large), nil, large},
	{"parts, 500 after joining", once(blobtest.CommitThen500, "POST", onComplete), "", putStream(large), nil, large},
	{"parts, answer of joining lost", once(blobtest.CommitThenReset, "POST", onComplete), "old", putStream(large), nil, large},
	{"parts, joining always 500", ever(blobtest.Answer500, "POST", onComplete), "old", putStream(large), blob.ErrUnavailable, "old"},

	// What only reads is sent again by Retry.
	{"read, cut", once(blobtest.CutBody, "GET", nil), large, readLarge, nil, large},
	{"read, 503", once(blobtest.Answer503, "GET", nil), large, readLarge, nil, large},
	{"read, reset", once(blobtest.ResetBefore, "GET", nil), large, readLarge, nil, large},
	{"read, always 500", ever(blobtest.Answer500, "GET", nil), large, readLarge, blob.ErrUnavailable, large},
	{"stat, 503", once(blobtest.Answer503, "HEAD", nil), small, stat, nil, small},
	{"stat, 403", once(blobtest.Answer403, "HEAD", nil), small, stat, blob.ErrDenied, small},
	{"stat, slow", blobtest.ProxyRule{Fault: blobtest.SlowAnswer, Delay: time.Second}, small, stat, context.DeadlineExceeded, small},
	{"list, cut", once(blobtest.CutBody, "GET", onList), small, list, nil, small},
	{"list, always cut", ever(blobtest.CutBody, "GET", onList), small, list, blob.ErrUnavailable, small},
	{"list, always half of the XML", ever(blobtest.ShortBody, "GET", onList), small, list, blob.ErrUnavailable, small},
	{"list, hang", ever(blobtest.Hang, "GET", onList), small, list, context.DeadlineExceeded, small},
	{"delete, answer lost", once(blobtest.CommitThenReset, "DELETE", nil), small, remove, nil, ""},
	{"delete, 503", once(blobtest.Answer503, "DELETE", nil), small, remove, nil, ""},
}

func TestS3FaultsVersityGW(t *testing.T) { testFaults(t, blobtest.StartVersityGW(t)) }

func TestS3FaultsMinIO(t *testing.T) { testFaults(t, blobtest.StartMinIO(t)) }

func testFaults(t *testing.T, server *blobtest.Server) {
	proxy := blobtest.StartProxy(t, server.Endpoint, 1)
	store, err := url.Parse(server.NewBucket(t))
	if err != nil {
		t.Fatal(err)
	}
	direct := open(t, store.String())
	for _, c := range faultCases {
		t.Run(c.name, func(t *testing.T) {
			proxy.SetRules()
			b := open(t, server.Store(store.Host, proxy.Endpoint))
			if err := direct.Delete(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
			if c.before != "" {
				put(t, direct, "k", c.before)
			}
			ctx := t.Context()
			if c.want == context.DeadlineExceeded {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			before := proxy.Fired()[c.rule.Fault]
			proxy.SetRules(c.rule)
			if err := c.call(ctx, b); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%v, want %v", err, c.want)
			}
			proxy.SetRules()
			if proxy.Fired()[c.rule.Fault] == before {
				t.Error("the fault did not happen")
			}
			got, err := get(t, direct, "k")
			if c.after == "" && !errors.Is(err, blob.ErrNotFound) || c.after != "" && (err != nil || got != c.after) {
				t.Errorf("the store holds %.20q (%d bytes), %v; want %.20q", got, len(got), err, c.after)
			}
			if n := server.OpenUploads(t, store.Host, "k"); n > 0 {
				t.Errorf("%d uploads are left open", n)
			}
		})
	}
}

// rawClient is minio-go as it comes.
func rawClient(t testing.TB, server *blobtest.Server) *minio.Core {
	t.Helper()
	core, err := minio.NewCore(strings.TrimPrefix(server.Endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(server.AccessKey, server.SecretKey, ""), Region: "us-east-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return core
}

// What a dead uploader left is dropped, and only that.
func TestS3AbortUploads(t *testing.T) {
	server := blobtest.StartVersityGW(t)
	store, err := url.Parse(server.NewBucket(t))
	if err != nil {
		t.Fatal(err)
	}
	core, b := rawClient(t, server), open(t, store.String())
	for _, key := range []string{"k", "k", "k/below", "kk"} {
		if _, err := core.NewMultipartUpload(t.Context(), store.Host, key, minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := server.OpenUploads(t, store.Host, "k"); n != 4 {
		t.Fatalf("%d uploads are open", n)
	}
	if err := b.AbortUploads(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if n := server.OpenUploads(t, store.Host, "k"); n != 2 {
		t.Errorf("%d uploads are left open, want those of two other keys", n)
	}
}

// A byte that is wrong on the way goes unnoticed here: digests are the caller's.
func TestS3WrongByte(t *testing.T) {
	server := blobtest.StartVersityGW(t)
	store, err := url.Parse(server.NewBucket(t))
	if err != nil {
		t.Fatal(err)
	}
	proxy := blobtest.StartProxy(t, server.Endpoint, 1)
	b := open(t, server.Store(store.Host, proxy.Endpoint))
	put(t, b, "k", "0123456789")
	proxy.SetRules(ever(blobtest.WrongByte, "GET", nil))
	if got, err := get(t, b, "k"); err != nil || got != "0123446789" {
		t.Errorf("%q, %v", got, err)
	}
}

// A request that a proxy keeps, and sends when its sender has given up, still counts.
func TestS3CommitLater(t *testing.T) {
	server := blobtest.StartVersityGW(t)
	store, err := url.Parse(server.NewBucket(t))
	if err != nil {
		t.Fatal(err)
	}
	proxy := blobtest.StartProxy(t, server.Endpoint, 1)
	b, direct := open(t, server.Store(store.Host, proxy.Endpoint)), open(t, store.String())
	proxy.SetRules(blobtest.ProxyRule{Fault: blobtest.CommitLater, Method: "PUT", Delay: 50 * time.Millisecond})
	if err := create(t.Context(), b); !errors.Is(err, blob.ErrUnavailable) {
		t.Fatalf("%v, want %v", err, blob.ErrUnavailable)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		got, err := get(t, direct, "k")
		if err == nil && got == small {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never came: %q, %v", got, err)
		}
	}
}

// counting counts what is read through it.
type counting struct {
	io.Reader
	n atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// An upload reads no more ahead than three parts, however slow the store is: that is
// what it holds in memory.
func TestS3ReadsNoFurtherThanItSends(t *testing.T) {
	server := blobtest.StartVersityGW(t)
	store, err := url.Parse(server.NewBucket(t))
	if err != nil {
		t.Fatal(err)
	}
	proxy := blobtest.StartProxy(t, server.Endpoint, 1)
	b := open(t, server.Store(store.Host, proxy.Endpoint))
	proxy.SetRules(ever(blobtest.Hang, "PUT", nil))
	for _, size := range []int64{-1, 100 << 30} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		body := &counting{Reader: endless{}}
		_, err := b.Put(ctx, "k", body, blob.PutOptions{Size: size})
		cancel()
		part := max(8<<20, (size+9999)/10_000)
		if n := body.n.Load(); !errors.Is(err, context.DeadlineExceeded) || n > 3*part || n < part {
			t.Errorf("size %d: %v after %d bytes were read, want at most %d", size, err, n, 3*part)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
