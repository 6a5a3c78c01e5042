package web_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"modelbucket/web"
)

// A second request that is hidden behind a body with two lengths is not served.
func TestHiddenRequest(t *testing.T) {
	n := serve(t, nil)
	hidden := fmt.Sprintf("DELETE %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", fraud, token)
	text := fmt.Sprintf("POST %s/versions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n%s",
		fraud, token, 11+len(hidden), hidden)
	answer := n.raw(text)
	if strings.Count(answer, "HTTP/1.1 ") != 1 || !strings.Contains(answer, "Connection: close\r\n") {
		t.Errorf("answers are %s", answer)
	}
	n.get(fraud).must(t, 200, nil)
}

// A chunked upload works: it has no length, and its connection is not used again.
func TestChunkedUpload(t *testing.T) {
	n := serve(t, nil)
	answer := n.do("POST", fraud+"/versions", io.MultiReader(strings.NewReader("con"), strings.NewReader("tent")))
	answer.must(t, 201, nil)
	if !answer.Close {
		t.Error("the connection stays open")
	}
	if file := n.get(fraud + "/versions/1/files/model.joblib"); string(file.body) != "content" {
		t.Errorf("stored is %q", file.body)
	}
	beyond := io.MultiReader(bytes.NewReader(make([]byte, 8<<20)), strings.NewReader("x"))
	if p := n.do("POST", fraud+"/versions", beyond).problem(t); p.Code != "too_large" {
		t.Errorf("beyond the limit: %+v", p)
	}
	n.get(fraud+"/versions/2").must(t, 404, nil)
}

// What is refused is refused before its body is sent: with Expect: 100-continue not a
// byte of it leaves the caller.
func TestRefusedBeforeTheBody(t *testing.T) {
	n := serve(t, nil)
	calls := n.bucket.Calls()
	for _, row := range []struct {
		name, path, headers string
		status              int
	}{
		{"no token", fraud + "/versions", "Content-Length: 5000000\r\n", 401},
		{"wrong token", fraud + "/versions", "Authorization: Bearer nope\r\nContent-Length: 5000000\r\n", 401},
		{"token as basic", fraud + "/versions", "Authorization: Basic " + token + "\r\nContent-Length: 5000000\r\n", 401},
		{"announced too large", fraud + "/versions", "Authorization: Bearer " + token + "\r\nContent-Length: 50000000\r\n", 413},
		{"bad name", "/v1/tenants/acme/models/_x/versions", "Authorization: Bearer " + token + "\r\nContent-Length: 5000000\r\n", 400},
		{"bad label", fraud + "/versions?label=7", "Authorization: Bearer " + token + "\r\nContent-Length: 5000000\r\n", 400},
		{"wrong type", fraud + "/versions", "Authorization: Bearer " + token + "\r\nContent-Type: text/html\r\nContent-Length: 5000000\r\n", 415},
		{"chunked without a token", fraud + "/versions", "Transfer-Encoding: chunked\r\n", 401},
		{"a small body without a token", fraud + "/versions", "Content-Length: 5\r\n", 401},
		{"from another origin", fraud + "/versions", "Authorization: Bearer " + token + "\r\nOrigin: http://evil.example\r\nContent-Length: 5000000\r\n", 403},
	} {
		text := n.raw(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%sExpect: 100-continue\r\n\r\n", row.path, row.headers))
		if !strings.HasPrefix(text, fmt.Sprintf("HTTP/1.1 %d ", row.status)) {
			t.Errorf("%s: answer %s, want status %d and no 100", row.name, text, row.status)
		}
	}
	if now := n.bucket.Calls(); now != calls {
		t.Errorf("%d calls of the store", now-calls)
	}
}

// Every route but the public ones wants the token, and refuses without asking the store.
func TestEveryRouteWantsTheToken(t *testing.T) {
	n := serve(t, nil)
	calls := n.bucket.Calls()
	for _, route := range web.Routes() {
		if route.Permission == web.Public {
			continue
		}
		path := strings.NewReplacer("{tenant}", "acme", "{model}", "fraud", "{ref}", "1", "{alias}", "champion", "{name...}", "m").Replace(route.Pattern)
		methods := []string{route.Method}
		if route.Method == "GET" {
			methods = append(methods, "HEAD")
		}
		for _, method := range methods {
			for _, given := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Bearer " + token + "x", token, "Basic " + token} {
				answer := n.do(method, path, nil, "Authorization", given)
				if answer.StatusCode != 401 || answer.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s %s with %q: status %d, want 401 with WWW-Authenticate", method, path, given, answer.StatusCode)
				}
			}
		}
	}
	if now := n.bucket.Calls(); now != calls {
		t.Errorf("%d calls of the store", now-calls)
	}
}

// A page whose name was pointed at this machine has no token to send; where none is
// asked for, its name gives it away.
func TestForeignHost(t *testing.T) {
	for _, row := range []struct {
		insecure bool
		hosts    []string
		host     string
		status   int
	}{
		{true, nil, "127.0.0.1:8080", 200},
		{true, nil, "[::1]:8080", 200},
		{true, nil, "localhost", 200},
		{true, nil, "LOCALHOST.:80", 200},
		{true, nil, "evil.example", 421},
		{true, nil, "127.0.0.1.evil.example", 421},
		{true, []string{"Models.corp"}, "models.CORP:443", 200},
		{false, []string{"models.corp"}, "models.corp", 200},
		{false, []string{"models.corp"}, "evil.example", 421},
		{false, nil, "anything.example", 200},
	} {
		n := serve(t, func(o *web.Options) { o.Insecure, o.Hosts = row.insecure, row.hosts })
		text := n.raw(fmt.Sprintf("GET /v1/tenants HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", row.host, token))
		if !strings.HasPrefix(text, fmt.Sprintf("HTTP/1.1 %d ", row.status)) {
			t.Errorf("insecure %v, hosts %v, Host %s: answer %.60q, want %d", row.insecure, row.hosts, row.host, text, row.status)
		}
	}
}

func TestInsecureAsksForNoToken(t *testing.T) {
	n := serve(t, func(o *web.Options) { o.Insecure = true })
	n.do("POST", fraud+"/versions", strings.NewReader("x"), "Authorization", "").must(t, 201, nil)
	for _, headers := range [][]string{
		{"Origin", "http://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
	} {
		p := n.do("POST", fraud+"/versions", strings.NewReader("x"), headers...).problem(t)
		if p.Code != "forbidden" {
			t.Errorf("%v: %+v", headers, p)
		}
	}
	n.get(fraud+"/versions/2").must(t, 404, nil)
}

func TestAnswerHeaders(t *testing.T) {
	n := serve(t, nil)
	n.publish("fraud", "", "content")
	for _, path := range []string{"/", "/healthz", "/v1/tenants", fraud + "/versions/1/files/model.joblib", "/nothing", "/v1/../x"} {
		h := n.get(path).Header
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", path, name, h.Get(name), want)
			}
		}
		if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Cache-Control") == "" || h.Get("X-Request-Id") == "" {
			t.Errorf("%s: headers are %v", path, h)
		}
		if h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: other origins may read this", path)
		}
	}
	file := n.get(fraud + "/versions/1/files/model.joblib").Header
	if got := file.Get("Content-Type"); got != "application/octet-stream" {
		t.Errorf("content type of a file is %q", got)
	}
	if got := file.Get("Content-Disposition"); got != "attachment; filename=model.joblib" {
		t.Errorf("disposition of a file is %q", got)
	}
}

func TestRequestID(t *testing.T) {
	n := serve(t, nil)
	for given, kept := range map[string]bool{
		"abcdefgh": true, "0199c2f0-0000-7000-8000-000000000000": true, strings.Repeat("a", 64): true,
		"short": false, strings.Repeat("a", 65): false, "<script>alert(1)</script>": false, "": false, "aaaa aaaa": false,
	} {
		if got := n.get("/healthz", "X-Request-Id", given).Header.Get("X-Request-Id"); (got == given) != kept || len(got) < 8 {
			t.Errorf("%q became %q", given, got)
		}
	}
}

// The access log has one line a request, with the route and no secrets.
func TestAccessLog(t *testing.T) {
	n := serve(t, nil)
	n.publish("fraud", "?description=very-private", "content-of-the-model")
	n.get(fraud+"/versions/1", "User-Agent", "evil[31m")
	n.request("GET", "/v1/tenants/acme/models/%1b%5b31m")
	log := n.log.String()
	for _, want := range []string{
		`"method":"POST","route":"/v1/tenants/{tenant}/models/{model}/versions","status":201`, `"tenant":"acme"`, `"by":"root"`, `"request":"`,
		`"route":"/v1/tenants/{tenant}/models/{model}/versions/{ref}","status":200`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	for _, secret := range []string{token, "very-private", "content-of-the-model", "Bearer", `\u001b`} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q:\n%s", secret, log)
		}
	}
}

// Corruption that is found after the first byte breaks the connection: nobody gets a
// whole answer with wrong bytes.
func TestCorruptionInTheMidst(t *testing.T) {
	n := serve(t, func(o *web.Options) { o.MaxUpload = 64 << 20 })
	n.upload(20 << 20)
	n.corrupt("model.joblib", 17<<20)
	conn := n.dial()
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s/versions/1/files/model.joblib HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", fraud, token)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.Copy(io.Discard, answer.Body)
	if err != io.ErrUnexpectedEOF || answer.StatusCode != 200 || got != 16<<20 {
		t.Errorf("status %d, %d bytes, error %v; want the first 16 MiB and then a broken connection", answer.StatusCode, got, err)
	}
	// A range that does not touch the damage is whole; one that does is an answer in time.
	n.get(fraud+"/versions/1/files/model.joblib", "Range", "bytes=0-99").must(t, 206, nil)
	p := n.get(fraud+"/versions/1/files/model.joblib", "Range", "bytes=17825792-").problem(t)
	if p.Code != "corrupt" || p.ExitCode() != 5 || !strings.Contains(p.Detail, "model.joblib") {
		t.Errorf("problem is %+v", p)
	}
	if h := n.get(fraud+"/versions/1/files/model.joblib", "Range", "bytes=17825792-").Header; h.Get("ETag") != "" || h.Get("Content-Range") != "" {
		t.Errorf("the problem has the file's headers: %v", h)
	}
	if !strings.Contains(n.log.String(), `"aborted":true`) {
		t.Error("the log does not tell of the broken answer")
	}
}

func TestRanges(t *testing.T) {
	n := serve(t, nil)
	n.publish("fraud", "?filename=f", "0123456789")
	path := fraud + "/versions/1/files/f"
	etag := `"` + hexSum("0123456789") + `"`
	for _, row := range []struct {
		spec, ifRange string
		status        int
		body, where   string
	}{
		{"bytes=0-3", "", 206, "0123", "bytes 0-3/10"},
		{"bytes=4-", "", 206, "456789", "bytes 4-9/10"},
		{"bytes=-3", "", 206, "789", "bytes 7-9/10"},
		{"bytes=-30", "", 206, "0123456789", "bytes 0-9/10"},
		{"bytes=8-100", "", 206, "89", "bytes 8-9/10"},
		{"bytes=3-3", etag, 206, "3", "bytes 3-3/10"},
		{"bytes=3-3", `"other"`, 200, "0123456789", ""},
		{"bytes=0-1,4-5", "", 200, "0123456789", ""},
		{"bytes=5-3", "", 200, "0123456789", ""},
		{"bytes=x-3", "", 200, "0123456789", ""},
		{"lines=1-3", "", 200, "0123456789", ""},
		{"bytes=-0", "", 416, "", "bytes */10"},
		{"bytes=10-", "", 416, "", "bytes */10"},
		{"bytes=99999999999999999999-", "", 200, "0123456789", ""},
	} {
		answer := n.get(path, "Range", row.spec, "If-Range", row.ifRange)
		if answer.StatusCode != row.status || answer.Header.Get("Content-Range") != row.where || row.status < 400 && string(answer.body) != row.body {
			t.Errorf("%s, If-Range %s: status %d, %q, %q", row.spec, row.ifRange, answer.StatusCode, answer.Header.Get("Content-Range"), answer.body)
		}
	}
	if answer := n.get(path, "If-None-Match", etag); answer.StatusCode != 304 || len(answer.body) > 0 {
		t.Errorf("If-None-Match: status %d, %q", answer.StatusCode, answer.body)
	}
	for ref, want := range map[string]string{"1": "private, max-age=31536000, immutable", "latest": "private, no-cache"} {
		if got := n.get(fraud + "/versions/" + ref + "/files/f").Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control is %q, want %q", ref, got, want)
		}
	}
}

// ETags of what may change change with it, and 304 is cheap to poll.
func TestETags(t *testing.T) {
	n := serve(t, nil)
	n.publish("fraud", "", "one")
	latest := fraud + "/versions/latest"
	tag := n.get(latest).must(t, 200, nil).Header.Get("ETag")
	if answer := n.get(latest, "If-None-Match", tag); answer.StatusCode != 304 {
		t.Errorf("unchanged: status %d", answer.StatusCode)
	}
	n.publish("fraud", "", "two")
	if answer := n.get(latest, "If-None-Match", tag); answer.StatusCode != 200 {
		t.Errorf("latest is another one: status %d", answer.StatusCode)
	}
	tag = n.get(latest).Header.Get("ETag")
	n.json("PUT", fraud+"/aliases/champion", `{"version":2}`).must(t, 200, nil)
	if answer := n.get(latest, "If-None-Match", tag); answer.StatusCode != 200 {
		t.Errorf("an alias names it now: status %d", answer.StatusCode)
	}
	alias := n.get(fraud + "/aliases/champion").Header.Get("ETag")
	n.json("PUT", fraud+"/aliases/champion", `{"version":1,"note":"back"}`, "If-Match", alias).must(t, 200, nil)
	n.json("PUT", fraud+"/aliases/champion", `{"version":2}`, "If-Match", alias).must(t, 412, nil)
	model := n.get(fraud).Header.Get("ETag")
	changed := n.json("PATCH", fraud, `{"tags":{"a":"b"}}`, "If-Match", model).must(t, 200, nil)
	n.json("PATCH", fraud, `{"tags":{"a":null}}`, "If-Match", changed.Header.Get("ETag")).must(t, 200, nil)
	n.json("PATCH", fraud, `{"tags":{"a":"c"}}`, "If-Match", model).must(t, 412, nil)
	n.json("PATCH", fraud, `{"tags":{"a":"c"}}`, "If-Match", "*").must(t, 200, nil)
	n.json("PUT", "/v1/tenants/acme", `{"description":"x"}`, "If-None-Match", "*").must(t, 200, nil)
	n.json("PUT", "/v1/tenants/acme", `{"description":"y"}`, "If-None-Match", "*").must(t, 412, nil)
}
