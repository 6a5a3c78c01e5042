package web_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"modelbucket/web"
)

// What is done to HTTP itself, and doors that other servers of models have.

// rawly sends a text as it is; the answers to it begin with one of these statuses, and
// there is one answer.
func (x *target) rawly(statuses []int, text string) {
	x.t.Helper()
	var answer string
	calls := int64(1)
	for tries := 0; calls > 0 && tries < 3; tries++ {
		before := x.calls.Load()
		answer = x.converse(text)
		calls = x.calls.Load() - before
	}
	if !slices.ContainsFunc(statuses, func(s int) bool { return strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", s)) }) || strings.Count(answer, "HTTP/1.1 ") != 1 {
		x.t.Errorf("%.200q: answered with %.300q, want one of %v, once", text, answer, statuses)
	}
	if calls != 0 && !slices.Contains(statuses, 200) {
		x.t.Errorf("%.200q: %d calls of the store", text, calls)
	}
}

func protocolAttacks() []attack {
	head := func(path string, lines ...string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + bearer(token) + "\r\n" + strings.Join(append(lines, "", ""), "\r\n")
	}
	return []attack{
		{"C3", "CVE-2023-31036, CVE-2024-0087 (Triton)", "files that the server writes where the caller says", func(x *target) {
			var shots []shot
			for _, path := range []string{"/v2/logging", "/v2/trace/setting", "/v2/models/fraud/trace/setting", "/v2/repository/models/fraud/load", "/v2/systemsharedmemory/region/x/register", "/v2/cudasharedmemory/region/x/register", "/v1/logging"} {
				for _, method := range []string{"GET", "POST", "PUT"} {
					shots = append(shots, asJSON(method, path, `{"log_file":"/tmp/x","trace_file":"/tmp/x","parameters":{"file:../../x":"AA=="}}`), asJSON(method, path, `{}`, "Authorization:"))
				}
			}
			x.refused([]int{401, 404, 405}, shots...)
		}},
		{"C4", "CVE-2026-24207, CVE-2026-24208, CVE-2026-24209 (Triton)", "a repository of models by other names and methods", func(x *target) {
			var shots []shot
			for _, path := range []string{"/v2/repository/index", "/v2/repository/models/../fraud/load", "/v2/repository/models/..%2ffraud/load", "/v2/models/fraud/versions/../../x", "/v2/models/..%2f..%2fx/infer", "/v2//models/fraud", "/v2/models/fraud/infer", "/V2/models/fraud", "/v2/health/ready/../../models"} {
				for _, method := range []string{"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "get", "POST\x0b"} {
					shots = append(shots, shot{method, path, "", nil}, shot{method, path, "", []string{"Authorization:"}})
				}
			}
			x.refused([]int{400, 401, 404, 405}, shots...)
		}},
		{"F4", "CVE-2023-39326, CVE-2025-22871 (Go)", "chunks that are read otherwise elsewhere", func(x *target) {
			at := fraud + "/versions/1/restore"
			const kind = "Content-Type: application/json"
			hidden := "GET " + fraud + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + bearer(token) + "\r\n\r\n"
			for _, body := range []string{
				"2\n{}\r\n0\r\n\r\n", "2;" + strings.Repeat("x", 100_000) + "\r\n{}\r\n0\r\n\r\n", "2;a\nb\r\n{}\r\n0\r\n\r\n", "0x2\r\n{}\r\n0\r\n\r\n", "-2\r\n{}\r\n0\r\n\r\n", "+2\r\n{}\r\n0\r\n\r\n", "2 \x00\r\n{}\r\n0\r\n\r\n",
				"ffffffffffffffff2\r\n{}\r\n0\r\n\r\n", "2\r\n{}0\r\n\r\n", "\r\n2\r\n{}\r\n0\r\n\r\n", "2\r\n{}\r\n0\n\n" + hidden,
			} {
				x.rawly([]int{400}, head(at, kind, "Transfer-Encoding: chunked")+body)
			}
			for _, lines := range [][]string{
				{"Content-Length: 2", "Content-Length: 3"}, {"Content-Length: +2"}, {"Content-Length: 2, 2, 3"}, {"Content-Length: 0x2"}, {"Content-Length: -1"}, {"Content-Length: 2 2"}, {"Content-Length : 2"}, {"Transfer-Encoding : chunked"},
				{"Transfer-Encoding: chunked", "Transfer-Encoding: identity"},
			} {
				x.rawly([]int{400, 501}, head(at, append(lines, kind)...)+"{}"+hidden)
			}
			for _, encoding := range []string{"xchunked", "chunked, identity", "gzip, chunked", "identity, chunked", "chunked\x0b"} {
				x.rawly([]int{400, 501}, head(at, kind, "Transfer-Encoding: "+encoding)+"2\r\n{}\r\n0\r\n\r\n"+hidden)
			}
			x.rawly([]int{400}, "GET "+fraud+" HTTP/1.1\r\n"+bearer(token)+"\r\n\r\n")
			x.rawly([]int{400}, "GET "+fraud+" HTTP/1.1\r\nHost: a\r\nHost: b\r\n"+bearer(token)+"\r\n\r\n")
			x.unharmed()
		}},
		{"F5", "CVE-2024-24791 (Go)", "a body that is promised", func(x *target) {
			x.rawly([]int{401}, "POST "+fraud+"/versions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000\r\nExpect: 100-continue\r\n\r\n")
			x.rawly([]int{413}, head(fraud+"/versions", "Content-Length: 50000000", "Expect: 100-continue"))
			x.rawly([]int{415}, head(fraud+"/versions", "Content-Length: 500", "Content-Type: text/html", "Expect: 100-continue"))
			x.rawly([]int{417}, head(fraud+"/versions", "Content-Length: 500", "Expect: 200-ok", "Connection: close"))
			x.unharmed()
		}},
		{"F6", "CVE-2023-29406, CVE-2022-32148 (Go)", "who a caller says that he is", func(x *target) {
			for _, lines := range [][]string{
				{"X-Forwarded-For: 127.0.0.1"}, {"X-Real-IP: 127.0.0.1"}, {"Forwarded: for=127.0.0.1;host=localhost;proto=https"}, {"X-Forwarded-Host: localhost"}, {"X-Forwarded-User: root"}, {"X-Remote-User: root"}, {"X-Forwarded-Proto: https"},
				{"X-Tenant: bolt"}, {"X-Modelbucket-Principal: root"}, {"X-Forwarded-Email: root@x"}, {"X-Authenticated-User: root"}, {"Via: 1.1 localhost"},
			} {
				x.refused([]int{401}, shot{"GET", "/models?tenant_id=bolt", "", append(lines, "Authorization:")}, shot{"GET", "/v1/tenants", "", append(lines, "Authorization: Bearer wrong")}, shot{"DELETE", fraud, "", append(lines, "Authorization:")})
			}
			y := newTargetWith(x.t, func(o *web.Options) { o.Insecure = true })
			y.refused([]int{421}, shot{"GET", "/v1/tenants", "", []string{"Host: evil.example", "X-Forwarded-Host: localhost"}}, shot{"GET", "/v1/tenants", "", []string{"Host: evil.example", "Forwarded: host=localhost"}})
			for _, host := range []string{"a b", "a/b", "a\\b", "a\x0bb", "a,b"} {
				y.rawly([]int{400, 421}, "GET /v1/tenants HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
			}
		}},
		{"F7", "CVE-2022-2879, CVE-2025-58183 (Go)", "archives, which nothing here reads", func(x *target) {
			list, err := exec.CommandContext(x.t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "modelbucket/web/...", "modelbucket/detector/...", "modelbucket/registry", "modelbucket/blob").Output()
			if err != nil {
				x.t.Fatal(err)
			}
			for line := range strings.Lines(string(list)) {
				imported := strings.Fields(line)
				for _, name := range []string{"archive/tar", "archive/zip", "plugin", "os/exec", "text/template", "net/http/pprof", "expvar", "encoding/gob"} {
					if slices.Contains(imported[1:], name) {
						x.t.Errorf("%s imports %s", imported[0], name)
					}
				}
			}
		}},
		{"E6", "CVE-2026-42600 (MinIO)", "calls from node to node", func(x *target) {
			var shots []shot
			for _, path := range []string{"/minio/storage/v1/x", "/minio/peer/v1/x", "/minio/grid/v1", "/rpc", "/internal/x", "/_system/keys", "/_system/root_token.json", "/v1/_system", "/v1/tenants/_system", "/v1/tenants/_system/models", "/models?tenant_id=_system", "/v1/tenants/acme/models/_versions", "/v1/tenants/acme/models/_tenant.json"} {
				for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
					shots = append(shots, shot{method: method, path: path}, shot{method, path, "", []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"}})
				}
			}
			x.refused([]int{400, 404, 405}, shots...)
		}},
		{"F4", "CVE-2025-22871 (Go)", "a request behind a request", func(x *target) {
			hidden := fmt.Sprintf("DELETE %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n\r\n", fraud, bearer(token))
			for _, first := range []string{
				head(fraud+"/versions/1/load", fmt.Sprintf("Content-Length: %d", 5+len(hidden)), "Transfer-Encoding: chunked") + "0\r\n\r\n" + hidden,
				head(fraud+"/versions/1/load", "Transfer-Encoding: chunked") + "0\r\nX: y\r\n\r\n" + hidden,
			} {
				x.rawly([]int{200}, first)
			}
			x.unharmed()
		}},
		{"C1", "CVE-2025-23311 (Triton)", "bytes that come one by one", func(x *target) {
			conn := x.dial()
			defer conn.Close()
			began := time.Now()
			for _, b := range []byte(head(fraud+"/versions", "Content-Length: 7", "Connection: close") + "content") {
				if _, err := conn.Write([]byte{b}); err != nil {
					x.t.Fatal(err)
				}
			}
			if g := x.fire(shot{method: "GET", path: fraud}); g.status != 200 {
				x.t.Errorf("another request after %v: %d %s", time.Since(began), g.status, g.body)
			}
		}},
	}
}
