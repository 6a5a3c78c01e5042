package web_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/web"
)

// Who is let in: by which door, with what in his hands, and from where.

// otherDoors are where other products had one.
var otherDoors = []string{
	"/signup", "/api/2.0/mlflow/users/create", "/ajax-api/2.0/mlflow/users/create", "/api/2.0/mlflow/registered-models/list", "/ajax-api/2.0/mlflow/experiments/list",
	"/graphql", "/get-artifact?path=../../x", "/model-versions/get-artifact?path=x", "/api/2.0/mlflow-artifacts/artifacts/x", "/static-files/../x", "/gateway", "/admin", "/login",
	"/v1/bootstrap", "/v1/keys/bootstrap", "/v1/root_token", "/v1/sys/init", "/v1/sys/unseal", "/v1/sys/generate-root/attempt", "/minio/health/live", "/minio/admin/v3/info",
	"/debug/pprof/", "/debug/vars", "/.env", "/.git/config", "/server-status", "/actuator/env", "/console", "/rpc", "/minio/storage/v1",
}

func callerAttacks() []attack {
	return []attack{
		{"A13", "CVE-2023-6568, CVE-2024-27132, CVE-2024-27133 (MLflow)", "scripts in what is shown", func(x *target) {
			const script = `<script>alert(1)</script>`
			quoted := strings.ReplaceAll(`"x\"'`+script+`"`, "/", `\/`)
			for _, s := range []shot{
				asJSON("PATCH", fraud, `{"description":`+quoted+`,"tags":{`+quoted+`:`+quoted+`}}`),
				asJSON("PATCH", fraud+"/versions/1", `{"description":`+quoted+`}`), asJSON("PUT", "/v1/tenants/acme", `{"description":`+quoted+`}`),
				asJSON("PUT", fraud+"/aliases/champion", `{"version":1,"note":`+quoted+`}`),
				{"POST", fraud + "/versions", formOf(metadataPart(`{"user_metadata":{"x":`+quoted+`}}`), filePart), []string{formBoundary}},
				{method: "GET", path: fraud}, {method: "GET", path: fraud + "/versions"}, {method: "GET", path: fraud + "/aliases"}, {method: "GET", path: "/v1/tenants"}, {method: "GET", path: "/v1/models?include=latest"},
				{method: "GET", path: "/models?tenant_id=acme"}, {method: "GET", path: "/models/fraud/info?tenant_id=acme"},
				{method: "GET", path: "/v1/tenants/" + escaped(script)}, {method: "GET", path: "/models?tenant_id=" + escaped(script)}, {method: "GET", path: "/" + escaped(script)},
				{method: "GET", path: fraud + "?" + escaped(script) + "=1"}, {method: "GET", path: "/models?" + escaped(script) + "=1"},
				{"POST", fraud + "/versions", "x", []string{"Content-Type: text/html; a=" + script}}, {"GET", fraud, "", []string{"X-Request-Id: " + script}},
				asJSON("POST", fraud+"/detect", `[{`+quoted+`:`+quoted+`}]`), asJSON("POST", "/models/fraud/detect", `{"tenant_id":"acme","network_data":[{`+quoted+`:1}]}`),
				{script, "/", "", nil},
			} {
				g := x.fire(s)
				kind := g.header.Get("Content-Type")
				if kind != "application/json" && kind != "application/problem+json" && !strings.HasPrefix(kind, "text/plain") {
					x.t.Errorf("%s: answered as %s: %s", s, kind, g.body)
				}
				if kind[:5] != "text/" && (g.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(g.header.Get("Content-Security-Policy"), "default-src 'none'")) {
					x.t.Errorf("%s: headers are %v", s, g.header)
				}
				for name, values := range g.header {
					if strings.Contains(strings.Join(values, ""), "<") && name != "Link" {
						x.t.Errorf("%s: header %s: %s", s, name, values)
					}
				}
			}
		}},
		{"A13", "CVE-2023-6568 (MLflow)", "a file that is a page", func(x *target) {
			const page = "<html><script>alert(1)</script>"
			x.refused([]int{415}, shot{"POST", fraud + "/versions?filename=index.html", page, []string{"Content-Type: text/html"}})
			for i, s := range []shot{
				{"POST", "/v1/tenants/acme/models/page/versions?filename=index.html", page, nil},
				{"POST", "/v1/tenants/acme/models/page/versions", formOf("Content-Disposition: form-data; name=\"f\"; filename=\"index.html\"\r\nContent-Type: text/html\r\n\r\n" + page), []string{formBoundary}},
			} {
				if g := x.fire(s); g.status != 201 {
					x.t.Fatalf("%s: %d %s", s, g.status, g.body)
				}
				g := x.fire(shot{method: "GET", path: fmt.Sprintf("/v1/tenants/acme/models/page/versions/%d/files/index.html", i+1)})
				if g.header.Get("Content-Type") != "application/octet-stream" || g.header.Get("X-Content-Type-Options") != "nosniff" ||
					!strings.HasPrefix(g.header.Get("Content-Disposition"), "attachment;") || g.body != page {
					x.t.Errorf("headers are %v", g.header)
				}
			}
		}},
		{"A14", "CVE-2023-6014, CVE-2025-1473 (MLflow)", "signing up", func(x *target) {
			for _, path := range otherDoors[:3] {
				for _, headers := range [][]string{nil, {"Authorization:"}, {"Authorization:", "Origin: http://evil.example"}} {
					x.refused([]int{400, 403, 404}, asJSON("POST", path, `{"username":"me","password":""}`, headers...))
				}
			}
		}},
		{"A14", "CVE-2025-1473 (MLflow)", "a page of another origin asks for changes", func(x *target) {
			for _, insecure := range []bool{false, true} {
				x := newTargetWith(x.t, func(o *web.Options) { o.Insecure = insecure })
				for _, from := range []string{"Origin: http://evil.example", "Origin: null", "Origin: http://" + x.addr + ".evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"} {
					x.refused([]int{403},
						shot{"POST", fraud + "/versions", "content", []string{from}}, shot{"DELETE", fraud, "", []string{from}},
						shot{"DELETE", "/models/fraud?tenant_id=acme", "", []string{from}}, asJSON("PATCH", fraud, `{"description":"x"}`, from),
						shot{"POST", fraud + "/versions/1/unload", "", []string{from}}, shot{"POST", "/models/fraud/load?tenant_id=acme", "", []string{from}},
						asJSON("POST", "/models/train", `{"network_data":`+someEvents+`,"tenant_id":"acme"}`, from),
					)
				}
			}
		}},
		{"A14", "CVE-2025-1474, CVE-2025-11200 (MLflow)", "tokens that are none", func(x *target) {
			for _, authorization := range []string{
				"Authorization:", "Authorization: ", "Authorization: Bearer", "Authorization: Bearer ", "Authorization: Bearer  ", "Authorization: Bearer null", "Authorization: Bearer undefined", "Authorization: Bearer 0",
				"Authorization: Basic Og==", "Authorization: Basic YWRtaW46cGFzc3dvcmQ=", "Authorization: Basic cm9vdDo=", "Authorization: bearer\x0b" + token, "Authorization: Bearer " + token[:len(token)-1],
				"Authorization: Bearer " + token + token, "Authorization: Bearer " + strings.ToUpper(token), "Authorization: Token " + token, "Authorization: " + token, "X-Api-Key: " + token, "Cookie: token=" + token,
				"Authorization: Bearer " + token + ", Bearer " + token, "Authorization: Bearer root", "Authorization: Bearer " + strings.Repeat("a", 8000), "Proxy-Authorization: Bearer " + token,
			} {
				headers := []string{authorization}
				if !strings.HasPrefix(authorization, "Authorization") {
					headers = append(headers, "Authorization:")
				}
				x.refused([]int{400, 401},
					shot{"GET", fraud, "", headers}, shot{"GET", "/models", "", headers}, shot{"DELETE", fraud, "", headers}, shot{"POST", fraud + "/versions", "content", headers},
					shot{"GET", "/v1/tenants?access_token=" + token, "", headers}, shot{"GET", "/metrics?token=" + token, "", headers},
				)
			}
		}},
		{"A16", "CVE-2025-14279 (MLflow)", "a name that was pointed at this machine", func(x *target) {
			x = newTargetWith(x.t, func(o *web.Options) { o.Insecure = true })
			for _, host := range []string{"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "localhost@evil.example", "0x7f.1", "127.1", "evil.example%00localhost", "[::1].evil.example"} {
				x.refused([]int{400, 421}, shot{"GET", "/models?tenant_id=bolt", "", []string{"Host: " + host}}, shot{"GET", "/v1/tenants/bolt/models", "", []string{"Host: " + host}},
					shot{"GET", "http://" + host + "/v1/models", "", nil}, shot{"DELETE", "/models/fraud?tenant_id=acme", "", []string{"Host: " + host}})
			}
		}},
		{"A18", "CVE-2026-0545, CVE-2026-2651, CVE-2026-2652 (MLflow)", "routes beside the door", func(x *target) {
			var shots []shot
			for _, route := range web.Routes() {
				if route.Permission == web.Public {
					continue
				}
				path := strings.NewReplacer("{tenant}", "acme", "{model}", "fraud", "{ref}", "1", "{alias}", "champion", "{name...}", "model.joblib").Replace(route.Pattern)
				for _, kind := range []string{"application/json", "multipart/form-data; boundary=b", "application/x-ndjson", "text/csv", ""} {
					shots = append(shots, shot{route.Method, path, formOf(filePart), []string{"Authorization:", "Content-Type: " + kind}})
				}
				if route.Method == "GET" {
					shots = append(shots, shot{"HEAD", path, "", []string{"Authorization:"}})
				}
				for _, spelling := range []string{strings.Replace(path, "s", "%73", 1), path + "?x=1", "http://" + x.addr + path} {
					shots = append(shots, shot{route.Method, spelling, "", []string{"Authorization:"}})
				}
			}
			x.refused([]int{401}, shots...)
		}},
		{"A18", "CVE-2026-0545, CVE-2026-2652 (MLflow)", "doors of other products, without a token and with one", func(x *target) {
			var shots []shot
			for _, path := range otherDoors {
				for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"} {
					shots = append(shots, shot{method, path, "", []string{"Authorization:"}}, shot{method: method, path: path})
				}
			}
			x.refused([]int{204, 400, 401, 404, 405}, shots...) // 204 says which methods a path has, and nothing of what is there
		}},
		{"A18", "CVE-2026-2652 (MLflow)", "another path for the door than for the route", func(x *target) {
			var shots []shot
			for _, path := range []string{
				"/healthz/../v1/models", "/healthz/..%2fv1/models", "/healthz;/v1/models", "/V1/models", "/v1//models", "//v1/models", "/v1/models/", "/v1/./models", "/v1/models%2f", "/v1/models%00", "/v1/models%20", "/v1/models;a=b",
				"/healthz%2f..%2fv1%2fmodels", "/.%2e/v1/models", "/v1/models/..", "/%2fv1/models", `/v1\models`, "/v1%5cmodels", "/readyz/v1/models", "/openapi.yaml/../v1/models", "*", "v1/models",
			} {
				for _, header := range []string{"X-Nothing: 1", "X-Original-URL: /healthz", "X-Rewrite-URL: /v1/models", "X-HTTP-Method-Override: GET", "X-Forwarded-Prefix: /v1/models", "X-Forwarded-Uri: /v1/models"} {
					shots = append(shots, shot{"GET", path, "", []string{"Authorization:", header}}, shot{"GET", "/healthz/none", "", []string{"Authorization:", header}})
				}
			}
			x.refused([]int{400, 401, 404, 405}, shots...)
		}},
		{"E3", "CVE-2024-36107 (MinIO)", "conditions that are answered before the token is asked for", func(x *target) {
			var shots []shot
			tag := x.fire(shot{method: "GET", path: fraud + "/versions/1"}).header.Get("ETag")
			for _, condition := range []string{"If-None-Match: *", "If-None-Match: " + tag, "If-Match: *", "If-Match: \"0\"", "If-Modified-Since: Thu, 26 Nov 2026 00:00:00 GMT", "If-Unmodified-Since: Thu, 26 Nov 2020 00:00:00 GMT", "If-Range: " + tag, "Range: bytes=99-"} {
				for _, path := range []string{fraud + "/versions/1", fraud + "/versions/1/files/model.joblib", "/v1/tenants/bolt", "/v1/tenants/nobody"} {
					shots = append(shots, shot{"GET", path, "", []string{"Authorization:", condition}}, shot{"HEAD", path, "", []string{"Authorization:", condition}})
				}
			}
			x.refused([]int{401}, shots...)
		}},
		{"E5", "CVE-2022-31028 (MinIO)", "connections on which nothing is said", func(x *target) {
			bubble(x.t, nil, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
				const silent = 2000
				ends := make(chan time.Duration, silent)
				began := time.Now()
				for i := range silent {
					conn, err := p.dial()
					if err != nil {
						t.Fatal(err)
					}
					go func() {
						if i%2 == 0 {
							io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: ")
						}
						io.Copy(io.Discard, conn)
						conn.Close()
						ends <- time.Since(began)
					}()
				}
				synctest.Wait()
				if answer, body := p.ask(t, get("/healthz")); answer.StatusCode != 200 {
					t.Errorf("status %d: %s", answer.StatusCode, body)
				}
				for range silent {
					if after := <-ends; after > time.Minute {
						t.Fatalf("a silent connection lived for %v", after)
					}
				}
			})
		}},
		{"E8", "CVE-2026-5807 (Vault)", "a first start over the network", func(x *target) {
			var shots []shot
			for _, path := range []string{"/v1/bootstrap", "/v1/keys/bootstrap", "/v1/root_token", "/v1/sys/init", "/v1/sys/rekey/init", "/v1/sys/generate-root/attempt", "/bootstrap", "/init", "/setup"} {
				for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
					shots = append(shots, asJSON(method, path, `{"token":"x","secret_shares":1}`, "Authorization:"))
				}
			}
			x.refused([]int{401, 404, 405}, shots...)
		}},
		{"F1", "CVE-2020-36565, CVE-2026-25766, CVE-2022-40083 (Echo)", "redirects and static files", func(x *target) {
			var shots []shot
			for _, path := range []string{"//evil.example/%2f..", "///evil.example", "//evil.example/..", `/\evil.example`, "/%5cevil.example", "/..%5c..%5cgo.mod", "/..%2fgo.mod", "/../go.mod", `/..\..\go.mod`, "/v1/tenants/", "/models/", "/openapi.yaml/", "/healthz/", "/./", "/%2e/", "/index.html", "/static/x", "/assets/../x"} {
				for _, method := range []string{"GET", "HEAD", "POST"} {
					shots = append(shots, shot{method: method, path: path})
				}
			}
			x.refused([]int{400, 404, 405}, shots...) // and none of them is 3xx
			for _, s := range shots {
				if to := x.fire(s).header.Get("Location"); to != "" {
					x.t.Errorf("%s: leads to %s", s, to)
				}
			}
		}},
	}
}
