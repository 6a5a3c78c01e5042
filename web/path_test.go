package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"modelbucket/registry"
	"modelbucket/web"
)

// raw sends bytes over a connection of its own and returns all that comes back until
// the server closes it.
func (n *node) raw(text string) string {
	n.t.Helper()
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		n.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		n.t.Fatalf("read answer: %v after %q", err, answer)
	}
	return string(answer)
}

// request sends one request with its target exactly as it is given, and reads the answer.
func (n *node) request(method, target string) (int, string) {
	n.t.Helper()
	text := n.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, target, n.addr, token))
	answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), &http.Request{Method: method})
	if err != nil {
		n.t.Fatalf("%s %s: %v in %q", method, target, err, text)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// What stands in a path where a name belongs.
var hostile = []string{
	"..", ".", "%2e%2e", "%2e", "..%2f..%2fother", "..%5c..%5cother", "%2e%2e%2fother", "%252e%252e%252fother",
	"%252e%252e", "a%2fb", "a%5cb", `a\b`, "a%00b", "a%0ab", "a%0d%0ab", "a%7fb", "%c0%ae", "%ff", "a%25b", "%", "%2", "%zz",
	"", "%20", "%09", "a%e2%80%a8b", "a%c2%85b", "m;/../../x", "m;x=1", "m%3bx", "%23", "%3f", "a%3ab", "a%26b", "a*b", "~a",
	"%d0%b0cme", "_versions", "_system", "_", "-", ".hidden", strings.Repeat("a", 4096), "aux%3a", "c:", "%e2%85%a7",
}

// TestHostilePaths puts each hostile segment in the place of each name in each route.
// None may reach the store, and none may be served.
func TestHostilePaths(t *testing.T) {
	n := serve(t, nil)
	honest := map[string]string{"tenant": "acme", "model": "fraud", "ref": "7", "alias": "champion", "name...": "model.joblib"}
	tried := 0
	for _, route := range web.Routes() {
		for name := range honest {
			if !strings.Contains(route.Pattern, "{"+name+"}") {
				continue
			}
			for _, bad := range hostile {
				if name == "name..." && fits(bad) {
					continue // a file may be called so
				}
				target := route.Pattern
				for other, value := range honest {
					if other == name {
						value = bad
					}
					target = strings.ReplaceAll(target, "{"+other+"}", value)
				}
				before := n.bucket.Calls()
				status, body := n.request(route.Method, target)
				tried++
				if status != 400 && status != 404 || strings.Contains(body, `_not_found"`) && !strings.Contains(body, `"not_found"`) {
					t.Errorf("%s %s: status %d, want 400 or 404: %s", route.Method, target, status, body)
				}
				if calls := n.bucket.Calls() - before; calls != 0 {
					t.Errorf("%s %s: %d calls of the store, want none", route.Method, target, calls)
				}
			}
		}
	}
	if tried < 1000 {
		t.Errorf("%d paths tried; the table has shrunk", tried)
	}
}

func fits(segment string) bool {
	name, err := url.PathUnescape(segment)
	if err != nil {
		return false
	}
	_, err = registry.ParseFileName(name)
	return err == nil && !strings.Contains(name, "/")
}

// The same name, however it is escaped, is the same thing.
func TestEscapedNames(t *testing.T) {
	n := serve(t, nil)
	n.publish("fraud", "?filename=a%20file%2B%3D%40.txt&label=v1.0&alias=champion", "content")
	for _, target := range []string{
		"/v1/tenants/acme/models/fraud/versions/%40champion",
		"/v1/tenants/acme/models/fraud/versions/@champion",
		"/v1/tenants/%61cme/models/fr%61ud/versions/v1%2E0",
		"/v1/tenants/acme/models/fraud/versions/v1.0/files/a%20file+=@.txt",
		"/v1/tenants/acme/models/fraud/versions/v1.0/files/a%20file%2B%3D%40.txt",
	} {
		if status, body := n.request("GET", target); status != 200 {
			t.Errorf("%s: status %d: %s", target, status, body)
		}
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	n := serve(t, nil)
	for _, row := range []struct {
		method, target string
		status         int
		code, allow    string
	}{
		{"GET", "/v2", 404, "not_found", ""},
		{"GET", "/v1/tenants/acme/models/fraud/versions/7/nothing", 404, "not_found", ""},
		{"GET", "/v1/tenants/acme/models/fraud/versions/7/files", 404, "not_found", ""},
		{"GET", "/v1/tenants/acme/models/fraud/aliases/a/b", 404, "not_found", ""},
		{"GET", "/v1/tenants/acme/models/fraud/versions/7/files/a/", 400, "bad_name", ""},
		{"GET", "/v1/tenants/acme/models/fraud/", 400, "bad_name", ""},
		{"GET", "//evil.example/%2f..", 400, "bad_name", ""},
		{"GET", "/v1//tenants", 400, "bad_name", ""},
		{"GET", "http://127.0.0.1/v1/../x", 400, "bad_name", ""},
		{"DELETE", "/v1/tenants", 405, "method_not_allowed", "GET, HEAD"},
		{"FROB", "/v1/tenants/acme/models/fraud", 405, "method_not_allowed", "DELETE, GET, HEAD, PATCH"},
		{"PUT", "/v1/tenants/acme/models/fraud/versions", 405, "method_not_allowed", "GET, HEAD, POST"},
		{"TRACE", "/healthz", 405, "method_not_allowed", "GET, HEAD"},
	} {
		text := n.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nX-HTTP-Method-Override: GET\r\nConnection: close\r\n\r\n", row.method, row.target, token))
		answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != row.status || !strings.Contains(string(body), `"code":"`+row.code+`"`) {
			t.Errorf("%s %s: status %d: %s", row.method, row.target, answer.StatusCode, body)
		}
		for method := range strings.SplitSeq(row.allow, ", ") {
			if !strings.Contains(answer.Header.Get("Allow"), method) {
				t.Errorf("%s %s: Allow is %q, want %s", row.method, row.target, answer.Header.Get("Allow"), row.allow)
			}
		}
	}
	if calls := n.bucket.Calls(); calls > 4 { // of opening the registry
		t.Errorf("%d calls of the store", calls)
	}
}

// FuzzPath sends any path at all. It may be served or refused, but a name that gets
// through is a name, and nothing panics.
func FuzzPath(f *testing.F) {
	for _, s := range hostile {
		f.Add("/v1/tenants/" + s + "/models")
		f.Add("/v1/tenants/acme/models/" + s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Skip()
		}
		s, bucket := quiet(t)
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = u
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		before := bucket.Calls()
		s.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%q: status %d: %s", path, w.Code, w.Body)
		}
		if bucket.Calls() == before {
			return
		}
		for segment := range strings.SplitSeq(r.URL.Path, "/") {
			if segment == "." || segment == ".." || strings.ContainsAny(segment, "\\%\x00\n") {
				t.Errorf("%q asked the store about %q", path, r.URL.Path)
			}
		}
	})
}
