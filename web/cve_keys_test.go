package web_test

import (
	"fmt"
	"net"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"modelbucket/blob"
	"modelbucket/web"
)

// Who holds a key tries what it is not for, and who holds none tries to seem to.

func keyAttacks() []attack {
	return []attack{
		{"A15", "CVE-2024-4263 (MLflow)", "who may write deletes and promotes", func(x *target) {
			writer := bearer(x.key("acme", "writer"))
			x.fire(shot{"POST", "/v1/tenants/acme/models/own/versions", "content", []string{writer}})
			x.settle()
			x.refused([]int{403},
				shot{"DELETE", fraud, "", []string{writer}}, shot{"DELETE", fraud + "/versions/1", "", []string{writer}}, shot{"DELETE", "/v1/tenants/acme/models/own/versions/1", "", []string{writer}},
				shot{"DELETE", "/models/fraud?tenant_id=acme", "", []string{writer}}, shot{"DELETE", fraud + "/aliases/champion", "", []string{writer}}, asJSON("PUT", fraud+"/aliases/champion", `{"version":1}`, writer),
				shot{"POST", fraud + "/versions?alias=champion", "content", []string{writer}}, shot{"POST", fraud + "/versions", formOf(metadataPart(`{"aliases":["champion"]}`), filePart), []string{writer, formBoundary}},
				shot{"POST", fraud + "/train?alias=champion", "packet_count\n1\n2\n3\n", []string{writer, "Content-Type: text/csv"}}, asJSON("POST", fraud+"/train", `{"network_data":`+someEvents+`,"aliases":["champion"]}`, writer),
				asJSON("POST", fraud+"/versions/1/copy", `{"model":"own","aliases":["champion"]}`, writer), asJSON("POST", fraud+"/versions/1/restore", `{"aliases":["champion"]}`, writer),
				asJSON("PUT", "/v1/tenants/acme", `{}`, writer), shot{"DELETE", "/v1/tenants/acme", "", []string{writer}}, asJSON("POST", "/v1/tenants/acme/keys", `{"role":"scorer"}`, writer), shot{"GET", "/metrics", "", []string{writer}},
			)
		}},
		{"A15", "CVE-2024-4263 (MLflow)", "every role at every route of another tenant", func(x *target) {
			for _, role := range roles {
				own := bearer(x.key("acme", role))
				var shots []shot
				for _, route := range web.Routes() {
					if route.Permission == web.Public || route.Any && !route.FastAPI {
						continue
					}
					path := strings.NewReplacer("{tenant}", "bolt", "{model}", canary, "{ref}", "1", "{alias}", canary, "{name...}", canary, "{key}", "0000000000").Replace(route.Pattern)
					if route.FastAPI {
						path += "?tenant_id=bolt"
					}
					shots = append(shots, asJSON(route.Method, path, `{"version":1,"network_data":`+someEvents+`}`, own))
				}
				x.refused([]int{400, 403, 404, 415}, shots...)
			}
		}},
		{"E1", "CVE-2024-55949, CVE-2025-62506 (MinIO)", "a key that may more than its maker", func(x *target) {
			admin, writer, reader := bearer(x.key("acme", "admin")), bearer(x.key("acme", "writer")), bearer(x.key("acme", "reader"))
			const keys = "/v1/tenants/acme/keys"
			x.refused([]int{400}, asJSON("POST", keys, `{"role":"operator"}`, admin), asJSON("POST", keys, `{"role":"root"}`, admin), asJSON("POST", keys, `{"role":"admin","tenant":"bolt"}`, admin), asJSON("POST", keys, `{"role":"reader","role":"admin"}`, admin),
				asJSON("POST", keys, `{"role":"reader","ROLE":"admin"}`, admin), asJSON("POST", keys, `{"role":"reader","permissions":["*"]}`, admin), asJSON("POST", keys, `{"role":["admin"]}`, admin), asJSON("POST", keys, `{}`, admin), asJSON("POST", keys, `{"role":"admin "}`, admin),
				asJSON("POST", keys+"?tenant=bolt", `{"role":"reader"}`, admin), asJSON("POST", keys+"?tenant_id=bolt", `{"role":"reader"}`, admin))
			x.refused([]int{403}, asJSON("POST", "/v1/keys", `{"role":"reader"}`, admin), asJSON("POST", "/v1/keys", `{"role":"operator"}`, admin), shot{"GET", "/v1/keys", "", []string{admin}}, shot{"DELETE", "/v1/keys/0000000000", "", []string{admin}})
			for _, caller := range []string{writer, reader} {
				x.refused([]int{403}, asJSON("POST", keys, `{"role":"scorer"}`, caller), shot{"GET", keys, "", []string{caller}}, shot{"DELETE", keys + "/0000000000", "", []string{caller}}, asJSON("POST", "/v1/keys", `{"role":"scorer"}`, caller))
			}
			x.refused([]int{404}, asJSON("POST", "/v1/tenants/bolt/keys", `{"role":"reader"}`, admin), shot{"GET", "/v1/tenants/bolt/keys", "", []string{admin}}, shot{"DELETE", "/v1/tenants/bolt/keys/0000000000", "", []string{admin}})
		}},
		{"E1", "CVE-2024-24747 (MinIO)", "another's key ends or lives on", func(x *target) {
			admin, bolts, operator := bearer(x.key("acme", "admin")), x.key("bolt", "reader"), x.key("", "operator")
			for _, token := range []string{bolts, operator} {
				x.refused([]int{404}, shot{"DELETE", "/v1/tenants/acme/keys/" + token[5:15], "", []string{admin}})
			}
			if g := x.fire(shot{"GET", "/v1/tenants/bolt", "", []string{bearer(bolts)}}); g.status != 200 {
				x.t.Errorf("bolt's key: %d %s", g.status, g.body)
			}
			mine := x.key("acme", "admin")
			if g := x.fire(shot{"GET", fraud, "", []string{bearer(mine)}}); g.status != 200 {
				x.t.Errorf("%d %s", g.status, g.body)
			}
			x.fire(shot{"DELETE", "/v1/tenants/acme/keys/" + mine[5:15], "", []string{admin}})
			x.refused([]int{401}, shot{"GET", fraud, "", []string{bearer(mine)}}, asJSON("POST", "/v1/tenants/acme/keys", `{"role":"admin"}`, bearer(mine)), asJSON("POST", fraud+"/detect", someEvents, bearer(mine)))
		}},
		{"E1", "CVE-2024-24747 (MinIO)", "another's key is forgotten while the store is away", func(x *target) {
			scorer, bolts := x.key("acme", "scorer"), bearer(x.key("bolt", "admin"))
			score := asJSON("POST", fraud+"/detect", someEvents, bearer(scorer))
			for _, s := range []shot{score, {"GET", "/v1/tenants/bolt", "", []string{bolts}}} {
				if g := x.fire(s); g.status != 200 {
					x.t.Fatalf("%s: %d %s", s, g.status, g.body)
				}
			}
			x.breakStore(blob.ErrUnavailable)
			if g := x.fire(shot{"DELETE", "/v1/tenants/bolt/keys/" + scorer[5:15], "", []string{bolts}}); g.status != 503 {
				x.t.Errorf("%s: %d %s", g.shot, g.status, g.body)
			}
			if g := x.fire(score); g.status != 200 {
				x.t.Errorf("%s: %d %s", g.shot, g.status, g.body)
			}
			x.breakStore(nil)
		}},
		{"E3", "CVE-2024-36107 (MinIO)", "conditions that tell whether another's thing is there", func(x *target) {
			reader := bearer(x.key("acme", "reader"))
			for _, condition := range []string{"X: y", "If-None-Match: *", `If-None-Match: "1"`, "If-Match: *", `If-Match: "0"`, "If-Modified-Since: Thu, 26 Nov 2026 00:00:00 GMT", "If-Unmodified-Since: Thu, 26 Nov 2020 00:00:00 GMT", "Range: bytes=0-0", "Range: bytes=99-", "Expect: 100-continue", "Accept: text/html"} {
				for _, rest := range []string{"", "/models", "/models/" + canary, "/models/" + canary + "/versions/1", "/models/" + canary + "/versions/1/files/" + canary} {
					there, not := shot{"GET", "/v1/tenants/bolt" + rest, "", []string{reader, condition, "X-Request-Id: of-the-test"}}, shot{"GET", "/v1/tenants/none" + rest, "", []string{reader, condition, "X-Request-Id: of-the-test"}}
					x.refused([]int{404}, there, not)
					a, b := x.fire(there), x.fire(not)
					a.header.Del("Date")
					b.header.Del("Date")
					if written(a.status, a.header, a.body) != written(b.status, b.header, b.body) {
						x.t.Errorf("%s: %v %s\n%s: %v %s", there, a.header, a.body, not, b.header, b.body)
					}
				}
			}
		}},
		{"E4", "CVE-2026-33419 (MinIO)", "which keys there are", func(x *target) {
			real := x.key("acme", "reader")
			g := &stranger{knowledge: knowledge{key: real[5:15]}}
			wrong := g.forgeOf("r", "A")
			g.knowledge.key = "0000000000"
			unknown := g.forgeOf("r", "A")
			x.fire(shot{"GET", fraud, "", []string{bearer(real)}})
			var answers []string
			for _, token := range []string{wrong, unknown, "nonsense"} {
				g := x.fire(shot{"GET", fraud, "", []string{bearer(token), "X-Request-Id: of-the-test"}})
				g.header.Del("Date")
				answers = append(answers, written(g.status, g.header, g.body))
			}
			if !strings.HasPrefix(answers[0], "401\n") || answers[0] != answers[1] || answers[1] != answers[2] {
				x.t.Errorf("the answers are %q", answers)
			}
			x.unharmed()
		}},
		{"E4", "CVE-2026-33419 (MinIO)", "tokens that are guessed", func(x *target) {
			g := &stranger{}
			before, statuses := x.bucket.Calls(), map[int]int{}
			for i := range 500 {
				g.knowledge.key = fmt.Sprintf("%010d", i)
				statuses[x.fire(shot{"GET", fraud, "", []string{bearer(g.forgeOf("a", "0"))}}).status]++
			}
			if calls := x.bucket.Calls() - before; calls > 150 || statuses[429] < 350 || statuses[401]+statuses[429] != 500 {
				x.t.Errorf("500 guesses were %d calls of the store; answered with %v", calls, statuses)
			}
			real := bearer(x.key("acme", "reader"))
			if g := x.fire(shot{"GET", fraud, "", []string{real}}); g.status != 200 && g.status != 429 {
				x.t.Errorf("%d %s", g.status, g.body)
			}
		}},
		{"E7", "CVE-2020-16250, CVE-2020-16251 (Vault)", "a token that says who vouches for it", func(x *target) {
			s := newSigners(x.t)
			issuer, way := startIssuer(x.t, public("r", s.rsa))
			evil := newSigners(x.t)
			x = newTargetWith(x.t, trusting(issuer, way, rules(x.t, "groups=admins:admin")...))
			url, calls := x.bait()
			good := issuer.claims(map[string]any{"groups": []string{"admins"}})
			if g := x.fire(shot{"GET", fraud, "", []string{bearer(signed(x.t, jose.RS256, "r", s.rsa, good))}}); g.status != 200 {
				x.t.Fatalf("a good token: %d %s", g.status, g.body)
			}
			foreign := func(claims map[string]any, headers ...any) string {
				return signed(x.t, jose.RS256, "r", evil.rsa, claims, headers...)
			}
			elsewhere := issuer.claims(map[string]any{"groups": []string{"admins"}, "iss": strings.TrimSuffix(url, "/model.joblib")})
			var shots []shot
			for _, token := range []string{
				foreign(good), foreign(elsewhere), foreign(good, "jku", url), foreign(good, "x5u", url), foreign(good, "jwk", public("r", evil.rsa)), foreign(elsewhere, "jku", url, "kid", url),
				signed(x.t, jose.HS256, "r", []byte(audience+"0123456789abcdefghijklmnopqrstuv"), good), forged(x.t, `{"alg":"none"}`, good, nil), forged(x.t, `{"alg":"None","typ":"JWT"}`, good, nil),
				signed(x.t, jose.RS256, "r", s.rsa, issuer.claims(map[string]any{"groups": []string{"admins"}, "iss": url})), signed(x.t, jose.RS256, "r", s.rsa, issuer.claims(map[string]any{"groups": []string{"admins"}, "aud": "others"})),
			} {
				for _, path := range []string{fraud, "/v1/tenants/bolt/models", "/models?tenant_id=bolt"} {
					shots = append(shots, shot{"GET", path, "", []string{bearer(token)}})
				}
			}
			x.refused([]int{401}, shots...)
			if n := calls(); n != 0 {
				x.t.Errorf("it called %d times", n)
			}
		}},
		{"E5", "CVE-2022-31028 (MinIO)", "more connections than one address may have", func(x *target) {
			x = newTargetWith(x.t, func(o *web.Options) { o.MaxConnectionsPerAddress = 20 })
			var open []net.Conn
			for range 60 {
				open = append(open, x.dial())
			}
			for _, conn := range open {
				conn.Close()
			}
			for range 100 { // the node learns of their ends in its own time
				conn, err := net.Dial("tcp", x.addr)
				if err != nil {
					x.t.Fatal(err)
				}
				fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
				answer := make([]byte, 12)
				n, _ := conn.Read(answer)
				conn.Close()
				if string(answer[:n]) == "HTTP/1.1 200" {
					return
				}
			}
			x.t.Error("nobody is served any more")
		}},
	}
}
