package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/registry"
	"modelbucket/web"
)

// slow is a body that comes after a while.
type slow struct {
	after time.Duration
	text  io.Reader
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(s.after)
	s.after = 0
	return s.text.Read(p)
}

// TestUploadsAtOnce: what is beyond the limit waits for its turn, and is refused after ten
// seconds, unread; one upload may have so many bytes.
func TestUploadsAtOnce(t *testing.T) {
	atDesk(t, `{"uploads":2,"upload_bytes":100000}`, func(d *desk) {
		upload := func(who, tenant string, body io.Reader) *httptest.ResponseRecorder {
			return d.send(who, "POST", "/v1/tenants/"+tenant+"/models/files/versions", "application/octet-stream", body)
		}
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() { decode(d.T, upload("acme", "acme", &slow{9 * time.Second, strings.NewReader("x")}), 201, nil) })
		}
		synctest.Wait()
		began := time.Now()
		decode(d.T, upload("acme", "acme", strings.NewReader("third")), 201, nil)
		if took := time.Since(began); took != 9*time.Second {
			d.Errorf("a third upload waited %v", took)
		}
		all.Wait()
		for range 2 {
			all.Go(func() { upload("acme", "acme", &slow{11 * time.Second, strings.NewReader("x")}) })
		}
		synctest.Wait()
		decode(d.T, upload("bolt", "bolt", strings.NewReader("another's")), 201, nil)
		var info registry.TenantInfo
		decode(d.T, d.ask("root", "GET", "/v1/tenants/acme", "", ""), 200, &info)
		if info.Usage.Uploads != 2 {
			d.Errorf("usage %+v", info.Usage)
		}
		all.Go(func() {
			if w := d.ask("acme", "POST", "/v1/tenants/acme/models/files/versions/1/restore", "", ""); w.Code != 429 {
				d.Errorf("a restore beyond the limit: %d %s", w.Code, w.Body)
			}
		})
		if w := upload("acme", "acme", unread{d.T}); w.Code != 429 || !strings.Contains(w.Body.String(), "too_many_requests") {
			d.Errorf("beyond the limit: %d %s", w.Code, w.Body)
		}
		all.Wait()

		large := func(kind string, length int64, body io.Reader) int {
			r := httptest.NewRequestWithContext(d.Context(), "POST", path("acme", kind), body)
			r.Header.Set("Authorization", "Bearer "+d.tokens["acme"])
			r.Header.Set("Content-Type", map[string]string{"/versions": "application/octet-stream", "/train": "text/csv"}[kind])
			r.ContentLength = length
			w := httptest.NewRecorder()
			d.server.ServeHTTP(w, r)
			return w.Code
		}
		for _, kind := range []string{"/versions", "/train"} {
			if code := large(kind, 100_001, unread{d.T}); code != 413 {
				d.Errorf("%s that announces too much: %d", kind, code)
			}
			body := &meteredBody{r: strings.NewReader(csvEvents(500_000))}
			if code := large(kind, -1, body); code != 413 || body.n > 200_000 {
				d.Errorf("%s that is too much: %d, %d bytes were read", kind, code, body.n)
			}
		}
		if code := large("/versions", 100_000, strings.NewReader(strings.Repeat("x", 100_000))); code != 201 {
			d.Errorf("as much as may be: %d", code)
		}
	})
}

// meteredBody counts what is read.
type meteredBody struct {
	r io.Reader
	n int64
}

func (c *meteredBody) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// TestQuotaIsTold: with its figures, the way out, and before the body.
func TestQuotaIsTold(t *testing.T) {
	atDesk(t, `{"versions":1,"stored_bytes":100000}`, func(d *desk) {
		for name, w := range map[string]*httptest.ResponseRecorder{
			"upload":   d.send("acme", "POST", path("acme", "/versions"), "application/octet-stream", unread{d.T}),
			"training": d.send("acme", "POST", path("acme", "/train"), "text/csv", unread{d.T}),
			"restore":  d.ask("acme", "POST", path("acme", "/versions/1/restore"), "", ""),
			"copy":     d.ask("root", "POST", path("bolt", "/versions/1/copy"), "application/json", `{"tenant":"acme"}`),
		} {
			var p web.Problem
			decode(d.T, w, 429, &p)
			want := registry.QuotaExceeded{Limit: registry.LimitVersions, Max: 1, Used: 1, Asked: 1}
			if p.Code != "quota_exceeded" || p.Quota == nil || *p.Quota != want || w.Header().Get("Retry-After") != "60" {
				d.Errorf("%s: %+v, quota %+v, Retry-After %s", name, p, p.Quota, w.Header().Get("Retry-After"))
			}
			for _, says := range []string{"tenant acme has 1 versions of the 1", "delete versions", "tenant set acme --limit versions="} {
				if !strings.Contains(p.Detail+p.Hint, says) {
					d.Errorf("%s: %s; %s: does not say %q", name, p.Detail, p.Hint, says)
				}
			}
		}
		d.limit(`{"versions":null}`)
		w := d.ask("acme", "POST", path("acme", "/versions"), "application/octet-stream", strings.Repeat("x", 200_000))
		var p web.Problem
		decode(d.T, w, 429, &p)
		if p.Quota == nil || p.Quota.Limit != registry.LimitStoredBytes || p.Quota.Asked != 200_000 || !strings.Contains(p.Hint, "until the collector takes them") {
			d.Errorf("bytes: %+v, quota %+v", p, p.Quota)
		}
		decode(d.T, d.ask("acme", "POST", "/v1/tenants/acme/models/files/versions", "application/octet-stream", "small"), 201, nil)
		var info registry.TenantInfo
		decode(d.T, d.ask("acme", "GET", "/v1/tenants/acme", "", ""), 200, &info)
		if u := info.Usage; u == nil || u.Versions != 2 || u.StoredBytes < 1000 || u.StoredBytes > 100_000 || info.InForce.Of(registry.LimitStoredBytes) != 100_000 || len(info.Limits) != 1 {
			d.Errorf("shown are %+v with %+v", info, info.Usage)
		}
		decode(d.T, d.detect("acme", "acme"), 200, nil)
		decode(d.T, d.ask("acme", "GET", "/v1/tenants/acme", "", ""), 200, &info)
		if info.Usage.CachedBytes == 0 {
			d.Error("no bytes of a loaded detector are shown")
		}
	})
}

// TestWhoSetsLimits: operators, not those whom they bind; and only what can be meant.
func TestWhoSetsLimits(t *testing.T) {
	atDesk(t, `{}`, func(d *desk) {
		for _, limits := range []string{`{"requests_per_second":1000000}`, `{"versions":null}`} {
			decode(d.T, d.ask("acme", "PUT", "/v1/tenants/acme", "application/json", `{"limits":`+limits+`}`), 403, nil)
			decode(d.T, d.ask("bolt", "PUT", "/v1/tenants/acme", "application/json", `{"limits":`+limits+`}`), 404, nil)
		}
		for limits, says := range map[string]string{
			`{"rate":1}`:                             `there is no limit`,
			`{"versions":-1}`:                        "whole number",
			`{"versions":1.5}`:                       "whole number",
			`{"versions":"7"}`:                       "whole number",
			`{"versions":true}`:                      "whole number",
			`{"versions":[1]}`:                       "whole number",
			`[]`:                                     "list",
			`{"versions":1,"Versions":2}`:            "twice",
			`{"versions":9007199254740992}`:          "whole number",
			`{"versions":1e3}`:                       "whole number",
			`{"` + strings.Repeat("x", 900) + `":1}`: "there is no limit",
		} {
			var p web.Problem
			decode(d.T, d.ask("root", "PUT", "/v1/tenants/acme", "application/json", `{"limits":`+limits+`}`), 400, &p)
			if !strings.Contains(p.Detail, says) || len(p.Detail) > 600 {
				d.Errorf("%.60s: %.700s; want %q", limits, p.Detail, says)
			}
		}
		w := d.ask("root", "PUT", "/v1/tenants/acme", "application/json", `{"limits":{"uploads":"unlimited","versions":9007199254740991}}`)
		if decode(d.T, w, 200, nil); !strings.Contains(w.Body.String(), `"limits":{"uploads":"unlimited","versions":9007199254740991}`) {
			d.Errorf("%s", w.Body)
		}
		tag := w.Header().Get("ETag")
		r := httptest.NewRequest("PUT", "/v1/tenants/acme", strings.NewReader(`{"limits":{"uploads":1}}`))
		r.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "If-Match": {tag}}
		for _, status := range []int{200, 412} {
			w := httptest.NewRecorder()
			again := r.Clone(r.Context())
			again.Body = io.NopCloser(strings.NewReader(`{"limits":{"uploads":1}}`))
			d.server.ServeHTTP(w, again)
			decode(d.T, w, status, nil)
		}
	})
}
