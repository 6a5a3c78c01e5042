package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
	"modelbucket/registry/signature"
	"modelbucket/web"
	"modelbucket/web/client"
)

// LongVariable is set where the proofs shall run in full, which takes hours: README, "Proof".
const LongVariable = "MODELBUCKET_TEST_LONG"

// long tells whether the full length of a proof is asked for.
func long() bool { return os.Getenv(LongVariable) == "1" }

// site is a bucket on a real S3 server, and a node on it to which nothing happens. Each
// trial has a tenant of its own there.
type site struct {
	server *blobtest.Server
	store  string
	bucket blob.Bucket
	other  *client.Client
	joblib string // a small detector; "": tenants have none
}

// onServers runs a proof on versitygw, and on MinIO where it is asked for.
func onServers(t *testing.T, proof func(*testing.T, *blobtest.Server)) {
	for name, start := range map[string]func(testing.TB) *blobtest.Server{"versitygw": blobtest.StartVersityGW, "minio": blobtest.StartMinIO} {
		t.Run(name, func(t *testing.T) { proof(t, start(t)) })
	}
}

// atOnce runs a subtest for each name, several at a time, and returns when all are over.
func atOnce(t *testing.T, several int, names []string, f func(t *testing.T, i int)) {
	slots := make(chan struct{}, several)
	var wg sync.WaitGroup
	for i, name := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			t.Run(name, func(t *testing.T) { f(t, i) })
		})
	}
	wg.Wait()
}

func newSite(t *testing.T, server *blobtest.Server) *site {
	t.Helper()
	s := &site{server: server, store: server.NewBucket(t)}
	var err error
	if s.bucket, err = blob.Open(t.Context(), s.store, blob.Options{}); err != nil {
		t.Fatal(err)
	}
	s.other = caller(t, mustStart(t, t.TempDir(), os.Environ(), "--store="+s.store, "--insecure", "--gc-interval=0").URL)
	return s
}

// caller is a client that sends each request once.
func caller(t *testing.T, url string) *client.Client {
	t.Helper()
	c, err := client.New(url, client.Options{Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// through is the flag that leads a node to the store by way of a proxy.
func (s *site) through(p *blobtest.Proxy) string {
	return "--store=" + s.server.Store(s.server.Bucket(s.store), p.Endpoint)
}

// inMemory is a client of a registry that has nothing to do with any server.
func inMemory(t *testing.T) (*client.Client, *registry.Registry, blob.Bucket) {
	t.Helper()
	bucket := blob.NewMemory()
	r, err := registry.Open(t.Context(), bucket, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := web.New(web.Options{Registry: r, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	c, err := inProcess(server)
	if err != nil {
		t.Fatal(err)
	}
	return c, r, bucket
}

func training(tenant registry.Tenant, model registry.Model) client.Training {
	return client.Training{Tenant: tenant, Model: model, Key: "train", Parameters: map[string]string{"n_estimators": "3", "max_samples": "16"}}
}

// file is a file whose content is at hand.
func file(name, content string) client.File {
	return client.File{Name: registry.FileName(name), Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
}

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// signFile signs a version that consists of one file.
func signFile(m registry.Model, f registry.File) ([]byte, error) {
	key, err := os.ReadFile(filepath.Join("..", "..", "registry", "signature", "testdata", "keys", "P-256.pem"))
	if err != nil {
		return nil, err
	}
	signer, err := signature.ParseSigner(key, nil)
	if err != nil {
		return nil, err
	}
	return registry.SignFiles(signer, m, []registry.File{f})
}

func number(t registry.Tenant, m registry.Model, n registry.Number) registry.Ref {
	return registry.Ref{Tenant: t, Model: m, Selector: registry.Selector{Number: n}}
}

// furnish makes what each tenant begins with: fraud with versions 1 and 2 and a deleted
// 3, stable standing for 1; and a model old.
// joblib, unless it is empty, makes a detector, edge.
func furnish(ctx context.Context, c *client.Client, tenant registry.Tenant, joblib string) error {
	for _, label := range []registry.Label{"v1", "v2", "v3"} {
		p := client.Publication{Tenant: tenant, Model: "fraud", Label: label, Key: string(label)}
		if _, err := c.Publish(ctx, p, file("a", "content of "+string(label))); err != nil {
			return err
		}
	}
	if _, err := c.DeleteVersion(ctx, number(tenant, "fraud", 3), registry.Deletion{}); err != nil {
		return err
	}
	if _, err := c.SetAlias(ctx, tenant, "fraud", "stable", registry.AliasChange{To: 1}); err != nil {
		return err
	}
	if _, err := c.Publish(ctx, client.Publication{Tenant: tenant, Model: "old", Key: "old"}, file("a", "old")); err != nil || joblib == "" {
		return err
	}
	_, err := c.Publish(ctx, client.Publication{Tenant: tenant, Model: "edge", Key: "edge"}, file("model.joblib", joblib), file("big", bigFile))
	return err
}

// fill furnishes a tenant, past all nodes: it is made in memory and copied.
func (s *site) fill(t *testing.T, tenant registry.Tenant) {
	t.Helper()
	c, r, memory := inMemory(t)
	if err := furnish(t.Context(), c, tenant, s.joblib); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := memory.List(t.Context(), blob.ListOptions{Prefix: string(tenant) + "/"})
	if err != nil || page.Next != "" {
		t.Fatal(page.Next, err)
	}
	var wg sync.WaitGroup
	for _, o := range page.Objects {
		wg.Go(func() {
			body, _, err := memory.Get(t.Context(), o.Key, blob.Range{})
			if err == nil {
				_, err = s.bucket.Put(t.Context(), o.Key, body, blob.PutOptions{Size: o.Size})
			}
			if err != nil {
				t.Errorf("copy %s: %v", o.Key, err)
			}
		})
	}
	wg.Wait()
}

// tenantOf is a tenant for the nth trial of a test.
func tenantOf(t *testing.T, nth int) registry.Tenant {
	sum := sha256.Sum256([]byte(t.Name()))
	return registry.Tenant(fmt.Sprintf("t%x-%d", sum[:6], nth))
}

// inventory is what a tenant has, as a user sees it, a line for each thing.
func inventory(t *testing.T, c *client.Client, tenant registry.Tenant) []string {
	t.Helper()
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if about, err := c.Tenant(t.Context(), tenant); err != nil {
		t.Fatal(err)
	} else if about.Description != "" {
		say("%q", about.Description)
	}
	for m, err := range c.Models(t.Context(), tenant, client.ModelList{Latest: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Latest == nil {
			continue // all that a first publish leaves that came to nothing
		}
		if m.Description != "" {
			say("%s %q", m.Model, m.Description)
		}
		for alias, n := range m.Aliases {
			say("%s@%s is %d", m.Model, alias, n)
		}
		for v, err := range c.Versions(t.Context(), tenant, m.Model, client.VersionList{Deleted: true}) {
			if err != nil {
				t.Fatal(err)
			}
			label := registry.Label("")
			if v.Label != nil {
				label = *v.Label
			}
			say("%s:%d %q %s %q %v", m.Model, v.Version, label, v.State, v.Description, v.Files)
			if v.State == registry.StateActive {
				shown, err := c.Version(t.Context(), v.Ref())
				if err != nil {
					t.Fatal(err)
				}
				if shown.Signature.State != registry.SignatureNone {
					say("%s:%d is signed: %s by %s", m.Model, v.Version, shown.Signature.State, shown.Signature.KeyID)
				}
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// check holds a tenant, or the whole bucket, against itself, every byte of it.
func (s *site) check(t *testing.T, tenant registry.Tenant) *registry.CheckReport {
	t.Helper()
	report := s.examine(t, tenant)
	if !report.OK {
		t.Errorf("problems: %+v", report.Problems)
	}
	return report
}

// examine is check, for who judges by himself.
func (s *site) examine(t *testing.T, tenant registry.Tenant) *registry.CheckReport {
	t.Helper()
	r, err := registry.Open(t.Context(), s.bucket, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	report, err := r.Check(t.Context(), registry.CheckOptions{Tenant: tenant, Digests: true})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// later is a store on which time has gone by since all but the collector's clock was
// written.
type later struct {
	blob.Bucket
	by time.Duration
}

func (l later) Stat(ctx context.Context, key string) (blob.Object, error) {
	o, err := l.Bucket.Stat(ctx, key)
	if strings.HasPrefix(key, "_system/gc/") {
		o.Modified = o.Modified.Add(l.by)
	}
	return o, err
}

// sweep lets the collector take what is left of all that failed, and wants nothing to
// be left then that nobody needs.
func (s *site) sweep(t *testing.T) (*registry.CheckReport, registry.CollectReport) {
	t.Helper()
	var sum registry.CollectReport
	for _, by := range []time.Duration{25 * time.Hour, 50 * time.Hour} {
		r, err := registry.Open(t.Context(), later{s.bucket, by}, registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		report, err := r.Collect(t.Context(), registry.CollectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sum.Uploads, sum.Objects, sum.Condemned = sum.Uploads+report.Uploads, sum.Objects+report.Objects, sum.Condemned+report.Condemned
	}
	report := s.check(t, "")
	if report.Uploads != 0 {
		t.Errorf("the collector left %d uploads", report.Uploads)
	}
	if s.server == nil {
		return report, sum // a folder has no uploads in parts
	}
	if n := s.server.OpenUploads(t, s.server.Bucket(s.store), ""); n != 0 {
		t.Errorf("%d uploads in parts are left open", n)
	}
	return report, sum
}

// mebibytes is a content that goes out in parts.
func mebibytes(n int) string { return string(bytes.Repeat([]byte("0123456789abcdef"), n<<20/16)) }
