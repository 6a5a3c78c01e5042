package web_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"modelbucket/web"
)

// Who may call what, written down a second time and by hand: by the letters of the roles,
// in the tenant that the route names. What is not here, or is here and not served, fails.
// An operator's are for all tenants, as are root's, who may call everything.
var mayCall = map[string]string{
	"GET /":               "public",
	"GET /healthz":        "public",
	"GET /readyz":         "public",
	"GET /openapi.yaml":   "public",
	"GET /modelbucket.py": "public",

	"GET /metrics":                               "o",
	"GET /v1/tenants":                            "srwpao",
	"GET /v1/tenants/{tenant}":                   "rwpao",
	"PUT /v1/tenants/{tenant}":                   "o",
	"PUT /v1/tenants/{tenant}/signatures":        "ao", // whom a tenant trusts
	"DELETE /v1/tenants/{tenant}":                "o",
	"GET /v1/tenants/{tenant}/keys":              "ao",
	"POST /v1/tenants/{tenant}/keys":             "ao",
	"DELETE /v1/tenants/{tenant}/keys/{key}":     "ao",
	"GET /v1/keys":                               "o",
	"POST /v1/keys":                              "o",
	"DELETE /v1/keys/{key}":                      "o",
	"GET /v1/tenants/{tenant}/log":               "ao",
	"GET /v1/log":                                "o",
	"GET /v1/models":                             "rwpao",
	"GET /v1/detectors":                          "srwpao",
	"GET /v1/tenants/{tenant}/models":            "rwpao",
	"GET /v1/tenants/{tenant}/models/{model}":    "rwpao",
	"PATCH /v1/tenants/{tenant}/models/{model}":  "wpa",
	"DELETE /v1/tenants/{tenant}/models/{model}": "a",

	"GET /v1/tenants/{tenant}/models/{model}/versions":                       "rwpao",
	"POST /v1/tenants/{tenant}/models/{model}/versions":                      "wa",
	"GET /v1/tenants/{tenant}/models/{model}/versions/{ref}":                 "rwpao",
	"PATCH /v1/tenants/{tenant}/models/{model}/versions/{ref}":               "wpa",
	"DELETE /v1/tenants/{tenant}/models/{model}/versions/{ref}":              "pa",
	"GET /v1/tenants/{tenant}/models/{model}/versions/{ref}/files/{name...}": "rwpa",
	"POST /v1/tenants/{tenant}/models/{model}/versions/{ref}/verify":         "rwpao",
	"POST /v1/tenants/{tenant}/models/{model}/versions/{ref}/restore":        "wa",
	"POST /v1/tenants/{tenant}/models/{model}/versions/{ref}/copy":           "wa", // reads files and makes a version
	"POST /v1/tenants/{tenant}/models/{model}/versions/{ref}/detect":         "swpa",
	"POST /v1/tenants/{tenant}/models/{model}/versions/{ref}/load":           "wpao",
	"POST /v1/tenants/{tenant}/models/{model}/versions/{ref}/unload":         "wpao",
	"POST /v1/tenants/{tenant}/models/{model}/train":                         "wa",
	"POST /v1/tenants/{tenant}/models/{model}/detect":                        "swpa",
	"GET /v1/tenants/{tenant}/models/{model}/versions/{ref}/signature":       "rwpao",
	"PUT /v1/tenants/{tenant}/models/{model}/versions/{ref}/signature":       "wpa", // a promoter signs what he lets pass
	"GET /v1/tenants/{tenant}/models/{model}/aliases":                        "rwpao",
	"GET /v1/tenants/{tenant}/models/{model}/aliases/{alias}":                "rwpao",
	"PUT /v1/tenants/{tenant}/models/{model}/aliases/{alias}":                "pa",
	"DELETE /v1/tenants/{tenant}/models/{model}/aliases/{alias}":             "pa",

	"GET /models":                 "rwpao",
	"GET /models/{model}/info":    "rwpao",
	"POST /models/train":          "wa",
	"DELETE /models/{model}":      "pa",
	"POST /models/{model}/load":   "wpao",
	"POST /models/{model}/detect": "swpa",
}

// What a request also says, and who may then still call.
var mayCallWith = []struct{ route, query, body, roles string }{
	{"POST /v1/tenants/{tenant}/models/{model}/versions", "alias=champion", "", "a"},
	{"POST /v1/tenants/{tenant}/models/{model}/train", "alias=champion", "", "a"},
	{"POST /v1/tenants/{tenant}/models/{model}/train", "", `{"network_data":[{"packet_count":1}],"aliases":["champion"]}`, "a"},
	{"POST /v1/tenants/{tenant}/models/{model}/versions/{ref}/restore", "", `{"aliases":["champion"]}`, "a"},
	{"POST /v1/tenants/{tenant}/models/{model}/versions/{ref}/copy", "", `{"model":"copied","aliases":["champion"]}`, "a"},
}

// verdict is what an answer says about the caller's right to it.
func verdict(w *httptest.ResponseRecorder, head bool) string {
	text := w.Body.String()
	switch {
	case head:
		return map[int]string{401: "who are you", 403: "forbidden", 404: "not there"}[w.Code]
	case w.Code == 401:
		return "who are you"
	case w.Code == 403:
		if strings.Contains(text, "it needs the permission ") {
			return "forbidden"
		}
		return "forbidden without a reason: " + text
	case w.Code == 404 && strings.Contains(text, "there is no such tenant"):
		return "not there"
	}
	return ""
}

// fill puts names into a pattern. Where the route's tenant stands in the query it goes
// there, and named tells whether the route has one at all.
func fill(route web.Route, tenant string) (path string, named bool) {
	path = strings.NewReplacer("{tenant}", tenant, "{model}", "fraud", "{ref}", "1", "{alias}", "champion", "{key}", "0123456789", "{name...}", "model.joblib").Replace(route.Pattern)
	switch {
	case strings.Contains(route.Pattern, "{tenant}"):
		return path, true
	case route.FastAPI:
		return path + "?tenant_id=" + tenant, true
	}
	return path, false
}

// expect is what the hand-written table says of a caller and a route.
func expect(who, roles, tenant string, named bool) string {
	name, of, hasRole := strings.Cut(who, " of ")
	switch {
	case roles == "public", who == "root":
		return ""
	case !hasRole:
		return "who are you"
	case named && of != "all" && of != tenant:
		return "not there"
	case strings.Contains(roles, name[:1]):
		return ""
	}
	return "forbidden"
}

// TestEveryCellOfTheMatrix tries every route as everybody: in one's own tenant, in another
// one that is there, and in one that is not. A refusal costs the store no call. What is
// allowed is asked with a query that the handlers refuse, so that nothing changes.
func TestEveryCellOfTheMatrix(t *testing.T) {
	c := newCallers(t)
	served := map[string]web.Route{}
	cells, refused := 0, 0
	check := func(who, method, path, body, want string, head bool) {
		t.Helper()
		var w *httptest.ResponseRecorder
		calls := c.asked.during(func() { w = c.ask(who, method, path, body) })
		cells++
		got := verdict(w, head)
		if got != want {
			t.Errorf("%s: %s %s: %d, %q, want %q: %s", who, method, path, w.Code, got, want, w.Body)
		}
		if want == "" {
			return
		}
		refused++
		if calls != 0 {
			t.Errorf("%s: %s %s: refused with %d calls of the store", who, method, path, calls)
		}
	}
	for _, route := range web.Routes() {
		key := route.Method + " " + route.Pattern
		served[key] = route
		roles, ok := mayCall[key]
		if !ok {
			t.Errorf("%s is served, and the table does not say to whom", key)
			continue
		}
		for who := range c.tokens {
			for _, tenant := range []string{own, foreign, nowhere} {
				path, named := fill(route, tenant)
				if !named && tenant != own {
					continue
				}
				query := "?surely_unknown=1"
				if strings.Contains(path, "?") {
					query = "&surely_unknown=1"
				}
				if roles == "public" {
					query = ""
				}
				body := ""
				if route.Method != "GET" && route.Method != "DELETE" {
					body = "{}"
				}
				want := expect(who, roles, tenant, named)
				check(who, route.Method, path+query, body, want, false)
				if route.Method == "GET" {
					check(who, "HEAD", path+query, "", want, true)
				}
			}
		}
	}
	for key := range mayCall {
		if _, ok := served[key]; !ok {
			t.Errorf("the table has %s, which is not served", key)
		}
	}
	for _, with := range mayCallWith {
		for who := range c.tokens {
			for _, tenant := range []string{own, foreign, nowhere} {
				path, _ := fill(served[with.route], tenant)
				query := "?surely_unknown=1"
				if with.query != "" {
					query += "&" + with.query
				}
				body := with.body
				if body == "" {
					body = "{}"
				} else if strings.HasSuffix(path, "/train") { // its body speaks where its query does not
					query = ""
				}
				if want := expect(who, with.roles, tenant, true); want != "" || query != "" {
					check(who, "POST", path+query, body, want, false)
				}
			}
		}
	}
	if cells < 3000 || refused < 1500 {
		t.Errorf("only %d cells, %d of them refusals", cells, refused)
	}
	t.Logf("authz.routes %d/%d; authz.cells %d, %d of them refused without a call of the store", len(served), len(mayCall), cells, refused)
}
