package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
	"modelbucket/registry"
	"modelbucket/web"
	"modelbucket/web/client"
)

const token = "root-token-of-the-test"

func handler(t *testing.T) http.Handler {
	t.Helper()
	r, err := registry.Open(t.Context(), blob.NewMemory(), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	root, err := r.RootToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	s, err := web.New(web.Options{Registry: r, RootToken: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// both runs a test over the network and in-process.
func both(t *testing.T, test func(*testing.T, *client.Client)) {
	t.Run("network", func(t *testing.T) {
		server := httptest.NewServer(handler(t))
		t.Cleanup(server.Close)
		c, err := client.New(server.URL, client.Options{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		test(t, c)
	})
	t.Run("in-process", func(t *testing.T) {
		c, err := client.New("http://localhost", client.Options{Token: token, Transport: client.InProcess(handler(t))})
		if err != nil {
			t.Fatal(err)
		}
		test(t, c)
	})
}

func content(name, text string, size int64) client.File {
	return client.File{Name: registry.FileName(name), Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}

func ref(t *testing.T, s string) registry.Ref {
	t.Helper()
	r, err := registry.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// code is the code of the *client.Error that err has to be.
func code(t *testing.T, err error) string {
	t.Helper()
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		t.Fatalf("error is %v, want an answer of the server", err)
	}
	return e.Code
}

func TestLifeOfAVersion(t *testing.T) {
	both(t, func(t *testing.T, c *client.Client) {
		ctx := t.Context()
		v, err := c.Publish(ctx, client.Publication{Tenant: "acme", Model: "fraud", Label: "v1.0", Tags: map[string]string{"team": "net"}},
			content("model.joblib", "model", 5), content("data/a file", "unknown size", -1))
		if err != nil {
			t.Fatal(err)
		}
		if v.Version != 1 || v.Size != 17 || v.Tags["team"] != "net" {
			t.Errorf("published %+v", v)
		}
		d, err := c.Open(ctx, ref(t, "acme/fraud:v1.0"), "data/a file")
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(d)
		if err != nil || string(data) != "unknown size" || d.Version != 1 || d.Size != 12 {
			t.Errorf("downloaded %q of version %d, %d bytes: %v", data, d.Version, d.Size, err)
		}
		d.Close()

		none := int64(0)
		if _, err := c.SetAlias(ctx, "acme", "fraud", "champion", registry.AliasChange{To: 1, IfRevision: &none, Note: "first"}); err != nil {
			t.Fatal(err)
		}
		_, err = c.SetAlias(ctx, "acme", "fraud", "champion", registry.AliasChange{To: 1, IfRevision: &none})
		if got := code(t, err); got != "precondition_failed" {
			t.Errorf("second creation of an alias: %s", got)
		}
		_, err = c.DeleteVersion(ctx, ref(t, "acme/fraud:1"), registry.Deletion{})
		if got := code(t, err); got != "alias_in_use" {
			t.Errorf("deletion of a version with an alias: %s", got)
		}
		if a, err := c.Alias(ctx, "acme", "fraud", "champion"); err != nil || a.Version != 1 || a.Note != "first" {
			t.Errorf("alias is %+v, %v", a, err)
		}
		one := registry.Number(1)
		if _, err := c.DeleteAlias(ctx, "acme", "fraud", "champion", registry.AliasChange{IfVersion: &one}); err != nil {
			t.Fatal(err)
		}
		description := "for the night shift"
		if v, err := c.UpdateVersion(ctx, ref(t, "acme/fraud"), registry.Change{Description: &description, Tags: map[string]*string{"team": nil}}); err != nil || v.Description != description || len(v.Tags) != 0 {
			t.Errorf("updated %+v, %v", v, err)
		}
		if report, err := c.Verify(ctx, ref(t, "acme/fraud")); err != nil || !report.OK || report.Files != 2 {
			t.Errorf("verified %+v, %v", report, err)
		}
		if gone, err := c.DeleteVersion(ctx, ref(t, "acme/fraud"), registry.Deletion{IfNumber: 1, Reason: "test"}); err != nil || gone.State != registry.StateDeleted {
			t.Errorf("deleted %+v, %v", gone, err)
		}
		if _, err := c.Version(ctx, ref(t, "acme/fraud:1")); code(t, err) != "version_deleted" {
			t.Errorf("a deleted version: %v", err)
		}
		restored, err := c.Restore(ctx, ref(t, "acme/fraud:1"), client.Publication{})
		if err != nil || restored.Version != 2 || restored.Description != description {
			t.Errorf("restored %+v, %v", restored, err)
		}
		copied, err := c.Copy(ctx, ref(t, "acme/fraud"), client.Publication{Tenant: "other", Model: "night", Label: "v9"})
		if err != nil || copied.Tenant != "other" || copied.Version != 1 || *copied.Label != "v9" {
			t.Errorf("copied %+v, %v", copied, err)
		}
		if _, err := c.DeleteModel(ctx, "other", "night", "test"); err != nil {
			t.Error(err)
		}
	})
}

func TestListsGoOnToTheirEnd(t *testing.T) {
	both(t, func(t *testing.T, c *client.Client) {
		ctx := t.Context()
		for range 5 {
			if _, err := c.Publish(ctx, client.Publication{Tenant: "acme", Model: "fraud"}, content("a", "a", 1)); err != nil {
				t.Fatal(err)
			}
		}
		for _, tenant := range []registry.Tenant{"acme", "acme-corp", "zeta"} {
			if _, err := c.Publish(ctx, client.Publication{Tenant: tenant, Model: "z.model"}, content("a", "a", 1)); err != nil {
				t.Fatal(err)
			}
			description := "about " + string(tenant)
			if _, err := c.UpdateTenant(ctx, tenant, registry.Change{Description: &description}); err != nil {
				t.Fatal(err)
			}
		}
		var versions []registry.Number
		for v, err := range c.Versions(ctx, "acme", "fraud", client.VersionList{List: client.List{PageSize: 2}}) {
			if err != nil {
				t.Fatal(err)
			}
			versions = append(versions, v.Version)
		}
		if diff := cmp.Diff([]registry.Number{5, 4, 3, 2, 1}, versions); diff != "" {
			t.Errorf("versions (-want +got):\n%s", diff)
		}
		var models []string
		for m, err := range c.AllModels(ctx, client.ModelList{List: client.List{PageSize: 1}, Latest: true}) {
			if err != nil {
				t.Fatal(err)
			}
			models = append(models, string(m.Tenant)+"/"+string(m.Model)+":"+m.Latest.String())
		}
		if diff := cmp.Diff([]string{"acme-corp/z.model:1", "acme/fraud:5", "acme/z.model:1", "zeta/z.model:1"}, models); diff != "" {
			t.Errorf("models (-want +got):\n%s", diff)
		}
		var tenants []string
		for info, err := range c.Tenants(ctx, client.List{PageSize: 2}) {
			if err != nil {
				t.Fatal(err)
			}
			tenants = append(tenants, info.Description)
		}
		if diff := cmp.Diff([]string{"about acme-corp", "about acme", "about zeta"}, tenants); diff != "" {
			t.Errorf("tenants (-want +got):\n%s", diff)
		}
	})
}

// faulty loses answers, or gives others, for the first requests.
type faulty struct {
	http.RoundTripper
	tries atomic.Int64
	fault func(try int64, r *http.Request) (*http.Response, error, bool)
}

func (f *faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	if answer, err, done := f.fault(f.tries.Add(1), r); done {
		if r.Body != nil {
			r.Body.Close()
		}
		return answer, err
	}
	return f.RoundTripper.RoundTrip(r)
}

func TestALostAnswerIsNoSecondVersion(t *testing.T) {
	h := handler(t)
	f := &faulty{RoundTripper: client.InProcess(h)}
	f.fault = func(try int64, r *http.Request) (*http.Response, error, bool) {
		if r.Method != "POST" || try > 1 {
			return nil, nil, false
		}
		if answer, err := f.RoundTripper.RoundTrip(r); err == nil {
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		return nil, errors.New("connection reset"), true
	}
	var told []error
	c, err := client.New("http://localhost", client.Options{Token: token, Transport: f, OnRetry: func(err error, _ time.Duration) { told = append(told, err) }})
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.Publish(t.Context(), client.Publication{Tenant: "acme", Model: "fraud"}, content("a", "a", 1))
	if err != nil || v.Version != 1 {
		t.Fatalf("version %+v, %v", v, err)
	}
	if m, err := c.Model(t.Context(), "acme", "fraud"); err != nil || *m.Latest != 1 {
		t.Errorf("model is %+v, %v", m, err)
	}
	if len(told) != 1 {
		t.Errorf("told of %v, want one repeat", told)
	}
}

func TestAChangeWithoutKeyIsNotRepeated(t *testing.T) {
	f := &faulty{RoundTripper: client.InProcess(handler(t)), fault: func(int64, *http.Request) (*http.Response, error, bool) {
		return nil, errors.New("connection reset"), true
	}}
	c, err := client.New("http://localhost", client.Options{Token: token, Transport: f})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.SetAlias(t.Context(), "acme", "fraud", "champion", registry.AliasChange{To: 1}); err == nil {
		t.Fatal("no error")
	}
	if n := f.tries.Load(); n != 1 {
		t.Errorf("sent %d times, want once", n)
	}
}

func TestACorruptDownloadIsAnError(t *testing.T) {
	h := handler(t)
	c, err := client.New("http://localhost", client.Options{Token: token, Transport: client.InProcess(h)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(t.Context(), client.Publication{Tenant: "acme", Model: "fraud"}, content("a", "right bytes", 11)); err != nil {
		t.Fatal(err)
	}
	f := &faulty{RoundTripper: client.InProcess(h)}
	f.fault = func(_ int64, r *http.Request) (*http.Response, error, bool) {
		answer, err := f.RoundTripper.RoundTrip(r)
		if err == nil {
			answer.Body = io.NopCloser(strings.NewReader("wrong bytes"))
		}
		return answer, err, true
	}
	if c, err = client.New("http://localhost", client.Options{Token: token, Transport: f}); err != nil {
		t.Fatal(err)
	}
	d, err := c.Open(t.Context(), ref(t, "acme/fraud"), "a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(d)
	if got := code(t, err); got != "corrupt" {
		t.Errorf("code %s, want corrupt", got)
	}
	if e, _ := errors.AsType[*client.Error](err); e.ExitCode() != 5 {
		t.Errorf("exit code %d, want 5", e.ExitCode())
	}
}

// The caller's own failure is told as such and not repeated.
func TestAFileThatCannotBeRead(t *testing.T) {
	both(t, func(t *testing.T, c *client.Client) {
		broken := errors.New("disk on fire")
		opened := 0
		_, err := c.Publish(t.Context(), client.Publication{Tenant: "acme", Model: "fraud"}, client.File{Name: "a", Size: 100, Open: func() (io.ReadCloser, error) {
			opened++
			return io.NopCloser(io.MultiReader(strings.NewReader("some"), &failing{broken})), nil
		}})
		if !errors.Is(err, broken) || opened != 1 {
			t.Errorf("error %v after %d tries, want %v after one", err, opened, broken)
		}
		if _, err := c.Model(t.Context(), "acme", "fraud"); err != nil && code(t, err) != "model_not_found" {
			t.Error(err)
		}
		for v, err := range c.Versions(t.Context(), "acme", "fraud", client.VersionList{Deleted: true}) {
			if err == nil {
				t.Errorf("half an upload is visible: %+v", v)
			}
		}
	})
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// A large file passes through without being kept: more than would fit into the pipes.
func TestLargeFile(t *testing.T) {
	both(t, func(t *testing.T, c *client.Client) {
		data := make([]byte, 20<<20)
		rand.NewChaCha8([32]byte{1}).Read(data)
		file := client.File{Name: "big", Size: int64(len(data)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
		if _, err := c.Publish(t.Context(), client.Publication{Tenant: "acme", Model: "fraud"}, file); err != nil {
			t.Fatal(err)
		}
		d, err := c.Open(t.Context(), ref(t, "acme/fraud"), "big")
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		back, err := io.ReadAll(d)
		if err != nil || !bytes.Equal(data, back) {
			t.Errorf("%d bytes came back, %v", len(back), err)
		}
	})
}

func TestReady(t *testing.T) {
	both(t, func(t *testing.T, c *client.Client) {
		if err := c.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		metrics, err := c.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer metrics.Close()
		text, err := io.ReadAll(metrics)
		if err != nil || !strings.Contains(string(text), "modelbucket_bucket_up 1") {
			t.Errorf("metrics are %s, %v", text, err)
		}
	})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "stopping", http.StatusServiceUnavailable) })
	c, err := client.New("http://localhost", client.Options{Transport: client.InProcess(h)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(t.Context()); code(t, err) != "unavailable" || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("of a node that stops: %v", err)
	}
}

func TestWrongToken(t *testing.T) {
	h := handler(t)
	c, err := client.New("http://localhost", client.Options{Token: "wrong", Transport: client.InProcess(h)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Model(t.Context(), "acme", "fraud"); code(t, err) != "unauthenticated" {
		t.Error(err)
	}
}
