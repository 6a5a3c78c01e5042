package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"modelbucket/web"
)

// TestHeadersOnEveryAnswer: whatever is asked, and however it ends, an answer forbids what
// a browser could do with it.
func TestHeadersOnEveryAnswer(t *testing.T) {
	n := serve(t, nil)
	n.publish("fraud", "?alias=champion", "content")
	names := strings.NewReplacer("{tenant}", "acme", "{model}", "fraud", "{ref}", "1", "{alias}", "champion", "{name...}", "model.joblib", "{key}", "k")
	bad := strings.NewReplacer("{tenant}", "acme", "{model}", "no-such", "{ref}", "9", "{alias}", "none", "{name...}", "none", "{key}", "none")
	answers, statuses := 0, map[int]int{}
	look := func(what string, answer *http.Response) {
		t.Helper()
		answers++
		statuses[answer.StatusCode]++
		h := answer.Header
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin", "Access-Control-Allow-Origin": "", "Server": "", "X-Powered-By": "", "Set-Cookie": "",
		} {
			if got := strings.Join(h.Values(name), "|"); got != want {
				t.Errorf("%s: %s is %q, want %q", what, name, got, want)
			}
		}
		if policy := h.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: Content-Security-Policy is %q", what, policy)
		}
		if cache := h.Get("Cache-Control"); cache != "no-store" && !strings.HasPrefix(cache, "private, ") {
			t.Errorf("%s: Cache-Control is %q", what, cache)
		}
		if len(h.Values("X-Request-Id")) != 1 {
			t.Errorf("%s: X-Request-Id is %q", what, h.Values("X-Request-Id"))
		}
		if h.Get("Content-Type") == "" && answer.ContentLength > 0 {
			t.Errorf("%s: a body without a type", what)
		}
	}
	for _, route := range web.Routes() {
		methods := []string{route.Method, "OPTIONS", "TRACE"}
		if route.Method == "GET" {
			methods = append(methods, "HEAD", "POST")
		}
		for _, method := range methods {
			for how, headers := range map[string][]string{
				"well": nil, "without a token": {"Authorization", ""}, "with a wrong one": {"Authorization", "Bearer no"}, "packed": {"Content-Encoding", "br"},
				"of a foreign page": {"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, "as a wrong type": {"Content-Type", "text/html"},
			} {
				for _, path := range []string{names.Replace(route.Pattern), bad.Replace(route.Pattern), names.Replace(route.Pattern) + "?nonsense=1"} {
					if method == "DELETE" && how == "well" && path == names.Replace(route.Pattern) {
						continue // the others need it
					}
					look(method+" "+path+" "+how, n.do(method, path, nil, headers...).Response)
				}
			}
		}
	}
	for _, text := range []string{
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", "GET /../x HTTP/1.1\r\nHost: localhost\r\n", "GET http://evil.example/v1/tenants HTTP/1.1\r\nHost: localhost\r\n",
		"GET //evil.example/%2f.. HTTP/1.1\r\nHost: localhost\r\n", "GET /nothing HTTP/1.1\r\nHost: localhost\r\n", "CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n",
		"FROB / HTTP/1.1\r\nHost: localhost\r\n", "POST /models/train HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n",
		"POST " + fraud + "/versions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\nContent-Length: 99999999999999\r\n",
	} {
		answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(n.raw(text+"Connection: close\r\n\r\n"))), nil)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		look(text, answer)
		if answer.StatusCode < 400 || answer.Header.Get("Location") != "" {
			t.Errorf("%q: status %d, Location %q", text, answer.StatusCode, answer.Header.Get("Location"))
		}
	}
	t.Logf("headers.answers: %d over all routes; statuses %v", answers, statuses)
}

// What is no request of HTTP, or too much of one, is refused by net/http itself, before
// any of ours: with a text that has nothing of what was sent, and the connection's end.
func TestRefusedByTheProtocol(t *testing.T) {
	n := serve(t, nil)
	calls := n.bucket.Calls()
	head := "GET /v1/tenants HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\nConnection: close\r\n"
	for _, row := range []struct {
		name, text string
		status     int
	}{
		{"16 KiB less some", head + "X-Long: " + strings.Repeat("canary", 2600) + "\r\n", 200},
		{"headers of 24 KiB", head + "X-Long: " + strings.Repeat("canary", 4<<10) + "\r\n", 431},
		{"a header of 1 MiB", head + "X-Long: " + strings.Repeat("x", 1<<20) + "\r\n", 431},
		{"10,000 headers", head + strings.Repeat("X-Many: canary\r\n", 10_000), 431},
		{"a path of 64 KiB", "GET /" + strings.Repeat("canary", 11_000) + " HTTP/1.1\r\nHost: localhost\r\n", 431},
		{"two Content-Lengths", head + "Content-Length: 1\r\nContent-Length: 2\r\n", 400},
		{"a signed Content-Length", head + "Content-Length: +1\r\n", 400},
		{"space before a colon", head + "X-Canary : x\r\n", 400},
		{"NUL in a header", head + "X-Canary: a\x00b\r\n", 400},
		{"no Host", "GET / HTTP/1.1\r\nX-Canary: canary\r\n", 400},
		{"two Hosts", "GET / HTTP/1.1\r\nHost: canary\r\nHost: b\r\n", 400},
		{"a Host with a path", "GET / HTTP/1.1\r\nHost: canary/x\r\n", 400},
		{"packed transfer", head + "Transfer-Encoding: gzip, chunked\r\n", 501},
		{"unknown transfer", head + "Transfer-Encoding: canary\r\n", 501},
		{"HTTP/2 in the clear", "PRI * HTTP/2.0\r\n", 400},
		{"HTTP/3", "GET / HTTP/3.0\r\nHost: localhost\r\n", 505},
		{"Expect what nobody knows", head + "Expect: canary\r\n", 417},
		{"no HTTP", "canary\r\n", 400},
	} {
		text := n.raw(row.text + "\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
		if err != nil {
			t.Fatalf("%s: %v in %q", row.name, err, text)
		}
		body, err := io.ReadAll(answer.Body)
		if answer.StatusCode != row.status {
			t.Errorf("%s: status %d, want %d: %s, %v", row.name, answer.StatusCode, row.status, body, err)
		}
		if row.status != 200 && (strings.Contains(text, "canary") || !answer.Close) {
			t.Errorf("%s: it repeats what was sent, or keeps the connection: %q", row.name, text)
		}
	}
	if now := n.bucket.Calls(); now > calls+2 { // of the one that is a request
		t.Errorf("%d calls of the store", now-calls)
	}
}

// Packed bodies are refused, also where only a part is, or a second header says it.
func TestPackedBodies(t *testing.T) {
	n := serve(t, nil)
	calls := n.bucket.Calls()
	part := func(header string) (string, []string) {
		return "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"m\"\r\n" + header + "\r\n\r\nx\r\n--b--\r\n", []string{"Content-Type", "multipart/form-data; boundary=b"}
	}
	refused := func(what, body string, headers []string) {
		t.Helper()
		answer := n.do("POST", fraud+"/versions", strings.NewReader(body), headers...)
		if answer.StatusCode != 415 {
			t.Errorf("%s: status %d: %s", what, answer.StatusCode, answer.body)
		}
	}
	for _, encoding := range []string{"gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip", "aes128gcm", "nonsense"} {
		refused(encoding, "x", []string{"Content-Encoding", encoding})
		body, headers := part("Content-Encoding: " + encoding)
		refused("a part as "+encoding, body, headers)
	}
	for _, encoding := range []string{"base64", "quoted-printable", "x-uuencode"} {
		body, headers := part("Content-Transfer-Encoding: " + encoding)
		refused("a part as "+encoding, body, headers)
	}
	if now := n.bucket.Calls(); now > calls+20 { // a form's upload was begun, at most
		t.Errorf("%d calls of the store", now-calls)
	}
	two := n.raw(fmt.Sprintf("POST %s/versions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", fraud, token))
	if !strings.HasPrefix(two, "HTTP/1.1 415 ") {
		t.Errorf("two encodings: %q", two)
	}
	for _, header := range []string{"Content-Transfer-Encoding: binary", "Content-Transfer-Encoding: 8bit", "Content-Encoding: identity"} {
		body, headers := part(header)
		n.do("POST", fraud+"/versions", strings.NewReader(body), headers...).must(t, 201, nil)
	}
}
