package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"modelbucket/web"
)

// To who has no right in a tenant it is all one whether it is there: the answers are equal
// to the byte, whatever the route, whatever the names behind the tenant's.
func TestForeignTenantsAreNotThere(t *testing.T) {
	c := newCallers(t)
	compared := 0
	for _, route := range web.Routes() {
		if route.Permission == web.Public {
			continue
		}
		for _, who := range []string{"admin of " + own, "scorer of " + own, "writer of " + own} {
			there, named := fill(route, foreign)
			if !named {
				continue
			}
			answer := func(path string, headers ...string) string {
				body := ""
				if route.Method != "GET" && route.Method != "DELETE" {
					body = "{}"
				}
				w := c.ask(who, route.Method, path, body, headers...)
				if w.Code != http.StatusNotFound {
					t.Errorf("%s: %s %s: %d %s", who, route.Method, path, w.Code, w.Body)
				}
				return fmt.Sprint(w.Code, w.Header(), w.Body)
			}
			want := answer(there)
			for _, tenant := range []string{nowhere, "a", "evil-1", strings.Repeat("x", 63), "default"} {
				path, _ := fill(route, tenant)
				if got := answer(path); got != want {
					t.Errorf("%s: %s %s is told\n%s\nand of a tenant that is there\n%s", who, route.Method, path, got, want)
				}
				compared++
			}
			if got := answer(there, "If-None-Match", `"1"`, "If-Modified-Since", time.Now().UTC().Format(http.TimeFormat), "Range", "bytes=0-1"); got != want {
				t.Errorf("%s: %s %s with conditions is told\n%s\nwithout\n%s", who, route.Method, there, got, want)
			}
			compared++
		}
	}
	if compared < 300 {
		t.Errorf("only %d answers compared", compared)
	}
	t.Logf("%d answers about foreign tenants, all equal to \"does not exist\"", compared)
}

// Lists show each what he may see, and nothing of others.
func TestListsShowOnesOwn(t *testing.T) {
	c := newCallers(t)
	for _, path := range []string{"/v1/tenants", "/v1/models", "/v1/models?include=latest", "/models", "/v1/models?tenant=evil", "/v1/models?tenant=acme&after=a", "/v1/tenants?after=a"} {
		for _, who := range []string{"reader of acme", "admin of acme", "reader of evil", "reader of all", "operator of all", "root"} {
			text := c.must(t, who, "GET", path, "", http.StatusOK)
			sees := func(tenant string) bool { return strings.Contains(text, `"`+tenant+`"`) }
			_, of, _ := strings.Cut(who, " of ")
			if of == "acme" && sees("evil") || of == "evil" && sees("acme") {
				t.Errorf("%s: GET %s shows %s", who, path, text)
			}
			if !strings.Contains(path, "tenant=evil") && of != "evil" && !sees("acme") {
				t.Errorf("%s: GET %s does not show acme: %s", who, path, text)
			}
			if !strings.Contains(path, "tenant=acme") && of != "acme" && !sees("evil") {
				t.Errorf("%s: GET %s does not show evil: %s", who, path, text)
			}
		}
	}
	c.must(t, "root", "PUT", "/v1/tenants/acme", `{"description":"secret plans"}`, http.StatusOK)
	if text := c.must(t, "scorer of acme", "GET", "/v1/tenants", "", http.StatusOK); !strings.Contains(text, `"acme"`) || strings.Contains(text, "secret plans") {
		t.Errorf("a scorer, who may not read his tenant, is told %s", text)
	}
	if text := c.must(t, "reader of acme", "GET", "/v1/tenants", "", http.StatusOK); !strings.Contains(text, "secret plans") {
		t.Errorf("a reader is told %s", text)
	}
}

// A copy needs a right at each of its ends.
func TestCopyNeedsBothEnds(t *testing.T) {
	c := newCallers(t)
	const fraud = "/versions/1/copy"
	for _, row := range []struct {
		who, from, to string
		status        int
	}{
		{"writer of acme", "acme", "acme", 201},
		{"writer of acme", "acme", "evil", 404},
		{"writer of acme", "acme", "nobody", 404},
		{"writer of acme", "evil", "acme", 404},
		{"reader of acme", "acme", "acme", 403},
		{"writer of all", "acme", "evil", 201},
		{"writer of all", "evil", "new", 201},
		{"reader of all", "acme", "evil", 403},
		{"promoter of all", "acme", "evil", 403},
		{"operator of all", "acme", "evil", 403},
		{"admin of evil", "acme", "evil", 404},
		{"root", "acme", "evil", 201},
	} {
		copies := func() {
			w := c.ask(row.who, "POST", "/v1/tenants/"+row.from+"/models/fraud"+fraud, fmt.Sprintf(`{"tenant":%q,"model":"copied"}`, row.to))
			if w.Code != row.status {
				t.Errorf("%s copies from %s to %s: %d, want %d: %s", row.who, row.from, row.to, w.Code, row.status, w.Body)
			}
		}
		if row.status < 400 {
			copies()
		} else if calls := c.asked.during(copies); calls != 0 {
			t.Errorf("%s copies from %s to %s: refused with %d calls", row.who, row.from, row.to, calls)
		}
	}
}

// A publish that sets an alias needs the promoter's right too: before the body where the
// request line says so, and before anything is stored else. A repeat does not set it again.
func TestAliasesNeedTheirOwnRight(t *testing.T) {
	c := newCallers(t)
	const versions = "/v1/tenants/acme/models/fraud/versions"
	form := "--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{\"aliases\":[\"champion\"]}\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\nx\r\n--b--\r\n"
	const train = "/v1/tenants/acme/models/fraud/train"
	for name, ask := range map[string]func() *httptest.ResponseRecorder{
		"query": func() *httptest.ResponseRecorder {
			return c.ask("writer of acme", "POST", versions+"?alias=champion", "x", "Content-Type", "application/octet-stream")
		},
		"form": func() *httptest.ResponseRecorder {
			return c.ask("writer of acme", "POST", versions, form, "Content-Type", "multipart/form-data; boundary=b")
		},
		"train": func() *httptest.ResponseRecorder {
			return c.ask("writer of acme", "POST", train, `{"network_data":[{"packet_count":1},{"packet_count":2}],"aliases":["champion"]}`)
		},
		"csv": func() *httptest.ResponseRecorder {
			return c.ask("writer of acme", "POST", train+"?alias=champion", "packet_count\n1\n2\n", "Content-Type", "text/csv")
		},
	} {
		calls := c.asked.during(func() {
			if w := ask(); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "alias.write") {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		})
		if calls != 0 {
			t.Errorf("%s: refused with %d calls of the store", name, calls)
		}
	}

	raw := []string{"Content-Type", "application/octet-stream", "Idempotency-Key", "once"}
	first := c.must(t, "admin of acme", "POST", versions+"?alias=champion&label=v9", "nine", http.StatusCreated, raw...)
	c.must(t, "promoter of acme", "PUT", "/v1/tenants/acme/models/fraud/aliases/champion", `{"version":1}`, http.StatusOK)
	again := c.must(t, "admin of acme", "POST", versions+"?alias=champion&label=v9", "nine", http.StatusCreated, raw...)
	if !strings.Contains(first, `"version":2`) || !strings.Contains(again, `"version":2`) {
		t.Errorf("first %s, again %s", first, again)
	}
	if now := c.must(t, "reader of acme", "GET", "/v1/tenants/acme/models/fraud/aliases/champion", "", http.StatusOK); !strings.Contains(now, `"version":1,"revision":3`) {
		t.Errorf("the repeat moved the alias: %s", now)
	}
	if w := c.ask("writer of acme", "POST", versions+"?alias=champion&label=v9", "nine", raw...); w.Code != http.StatusForbidden {
		t.Errorf("a writer repeats what a promoter sent: %d %s", w.Code, w.Body)
	}
}

// SecureNet's routes know the caller's own tenant where none is named.
func TestSecureNetKnowsTheCallersTenant(t *testing.T) {
	c := newCallers(t)
	if text := c.must(t, "reader of acme", "GET", "/models/fraud/info", "", http.StatusOK); !strings.Contains(text, `"tenant_id":"acme"`) {
		t.Errorf("info: %s", text)
	}
	for path, body := range map[string]string{
		"/models/fraud/detect": `{"network_data":[{"packet_count":1}],"tenant_id":"evil"}`,
		"/models/fraud/load":   `{"tenant_id":"evil"}`,
		"/models/train":        `{"network_data":[{"packet_count":1}],"tenant_id":"evil"}`,
	} {
		var w *httptest.ResponseRecorder
		calls := c.asked.during(func() { w = c.ask("admin of acme", "POST", path, body) })
		if w.Code != http.StatusNotFound || calls != 0 {
			t.Errorf("%s with another's tenant in its body: %d, %d calls: %s", path, w.Code, calls, w.Body)
		}
	}
}

// Nobody makes a key that may do more than he, or elsewhere.
func TestKeysOfATenantMakeTheirLike(t *testing.T) {
	c := newCallers(t)
	for _, row := range []struct {
		who, path, role string
		status          int
	}{
		{"admin of acme", "/v1/tenants/acme/keys", "admin", 201},
		{"admin of acme", "/v1/tenants/acme/keys", "scorer", 201},
		{"admin of acme", "/v1/tenants/acme/keys", "operator", 400},
		{"admin of acme", "/v1/tenants/acme/keys", "root", 400},
		{"admin of acme", "/v1/tenants/evil/keys", "scorer", 404},
		{"admin of acme", "/v1/keys", "scorer", 403},
		{"admin of all", "/v1/tenants/evil/keys", "admin", 201},
		{"admin of all", "/v1/keys", "admin", 403},
		{"promoter of acme", "/v1/tenants/acme/keys", "promoter", 403},
		{"operator of all", "/v1/tenants/acme/keys", "admin", 201},
		{"operator of all", "/v1/tenants/acme/keys", "operator", 400},
		{"operator of all", "/v1/keys", "operator", 201},
		{"operator of all", "/v1/keys", "reader", 201},
		{"root", "/v1/keys", "operator", 201},
	} {
		w := c.ask(row.who, "POST", row.path, fmt.Sprintf(`{"role":%q}`, row.role))
		if w.Code != row.status {
			t.Errorf("%s: POST %s %s: %d, want %d: %s", row.who, row.path, row.role, w.Code, row.status, w.Body)
		}
	}
	for _, body := range []string{
		`{"role":"reader","role":"admin"}`, `{"role":"reader","ROLE":"admin"}`, `{"role":"reader"}{"role":"admin"}`, `{"role":"reader","tenant":"evil"}`,
		`{"role":"reader","id":"0123456789"}`, `{"role":["admin"]}`, `{}`, `{"role":"reader","expires_at":"2001-01-01T00:00:00Z"}`, `{"role":"admin\u0000"}`,
	} {
		if w := c.ask("admin of acme", "POST", "/v1/tenants/acme/keys", body); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	// A key of another tenant, or for all, is not there for who asks from his own.
	for _, who := range []string{"reader of evil", "reader of all"} {
		id := c.tokens[who][5:15]
		if w := c.ask("admin of acme", "DELETE", "/v1/tenants/acme/keys/"+id, ""); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "key_not_found") {
			t.Errorf("acme's admin revokes the key of a %s: %d %s", who, w.Code, w.Body)
		}
		c.must(t, who, "GET", "/v1/models", "", http.StatusOK)
	}
	list := c.must(t, "admin of acme", "GET", "/v1/tenants/acme/keys", "", http.StatusOK)
	for who, secret := range c.tokens {
		if len(secret) != 66 || who == "wrong" {
			continue
		}
		want := strings.HasSuffix(who, " of acme") || who == "revoked" || who == "expired"
		if listed := strings.Contains(list, `"id":"`+secret[5:15]+`"`); listed != want {
			t.Errorf("%s is listed among acme's keys: %v", who, listed)
		}
		if strings.Contains(list, secret[16:59]) {
			t.Errorf("the list has the secret of %s", who)
		}
	}
}
