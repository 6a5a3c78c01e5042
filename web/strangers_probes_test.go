package web_test

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/url"
	"strings"

	"modelbucket/web"
)

// knowledge is what can be known of bolt from elsewhere: a version's id, a file's digest,
// a key's id.
type knowledge struct{ id, digest, key string }

// stranger makes requests of somebody in acme who wants what is bolt's.
type stranger struct {
	r *rand.Rand
	knowledge
}

func pick[T any](g *stranger, from ...T) T { return from[g.r.IntN(len(from))] }

// one in n.
func (g *stranger) one(n int) bool { return g.r.IntN(n) == 0 }

// tenant is a tenant's name, mostly bolt's in some form.
func (g *stranger) tenant() string {
	switch g.r.IntN(12) {
	case 0, 1, 2, 3:
		return "acme"
	case 4, 5, 6, 7, 8, 9:
		return "bolt"
	case 10:
		return pick(g, "nobody", "default", "_system", "_audit", "BOLT", "Bolt", "bol", "bolt2", "*", "bolt*", ".", "..", "all", "null", "0")
	}
	return pick(g, "bolt ", " bolt", "bolt/", "/bolt", "bolt/../bolt", "acme/../bolt", "../bolt", "acme/..", "bolt\x00", "bolt\n", "bolt;acme", "acme;bolt", "acme,bolt", "bolt,acme", "acme bolt", "acme|bolt",
		"bolt:vault", "bolt@acme", "acme:bolt", "b%6flt", "%62olt", "b\u043elt", "\uff42olt", "bo\u200blt", "bolt.", "bolt?", "bolt#", `bolt\`, `acme\..\bolt`, `["bolt"]`, "bolt%2f", "..%2fbolt", "acme%2f..%2fbolt", "%252e%252e%252fbolt", "")
}

func (g *stranger) model() string {
	return pick(g, "fraud", "fraud", "notes", vault, vault, "none", iforest, "bolt/vault", "../bolt/vault", "..%2f..%2fbolt%2fvault", "vault:1", "bolt:vault", "_tenant.json", "_versions", "bolt", "vault@crown", "")
}

func (g *stranger) ref() string {
	return pick(g, "1", "2", "3", "7", "latest", "v1.0", "one", "@champion", golden, "silver", "@"+crown, g.id, g.digest, "@", "../../../bolt/models/vault/versions/1", "bolt", "0", "1%20", "bolt/vault:1", "%40crown", "v1.0 ", "")
}

func (g *stranger) alias() string { return pick(g, "champion", crown, "a", "@"+crown, "../crown", "") }
func (g *stranger) file() string {
	return pick(g, "model.joblib", "notes.txt", "weights.bin", "metadata.json", "../../../../bolt/vault/"+g.id+"/weights.bin", "bolt/vault/weights.bin", "..%2fweights.bin", "a/b", "")
}
func (g *stranger) key() string { return pick(g, g.knowledge.key, "0000000000", "zzzzzzzzzz", "x", "") }

// escape writes a name into a path: as it is, or escaped in one of the ways.
func (g *stranger) escape(name string) string {
	switch g.r.IntN(6) {
	case 0:
		return escaped(name)
	case 1:
		return strings.ReplaceAll(escaped(name), "%", "%25")
	case 2:
		return name
	}
	return url.PathEscape(name)
}

// path fills a route's pattern.
func (g *stranger) path(pattern string) string {
	for name, value := range map[string]func() string{"{tenant}": g.tenant, "{model}": g.model, "{ref}": g.ref, "{alias}": g.alias, "{name...}": g.file, "{key}": g.key} {
		if strings.Contains(pattern, name) {
			pattern = strings.ReplaceAll(pattern, name, g.escape(value()))
		}
	}
	return pattern
}

// twist makes another spelling of a path.
func (g *stranger) twist(path string) string {
	switch g.r.IntN(12) {
	case 0:
		return strings.Replace(path, "/acme/", "/acme/../bolt/", 1)
	case 1:
		return strings.Replace(path, "/v1/", "/v1//", 1)
	case 2:
		return strings.Replace(path, "/tenants/", "/tenants/acme/../", 1)
	case 3:
		return path + "/"
	case 4:
		return strings.ToUpper(path)
	case 5:
		return strings.Replace(path, "/models", ";tenant=bolt/models", 1)
	case 6:
		return "/" + path
	case 7:
		return strings.ReplaceAll(path, "/bolt", "/%62olt")
	case 8:
		return "http://" + pick(g, "localhost", "bolt", "bolt.localhost") + path
	case 9:
		return strings.Replace(path, "/acme", "/acme%2f..%2fbolt", 1)
	}
	return path
}

// query is a query of parameters, known and unknown, mostly with what is bolt's.
func (g *stranger) query() string {
	if !g.one(3) {
		return ""
	}
	var parts []string
	for range 1 + g.r.IntN(3) {
		name := pick(g, "tenant_id", "tenant_id", "tenant", "after", "before", "version", "limit", "include", "deleted", "expect", "filename", "label", "alias", "sha256", "reason", "x", "TENANT_ID", "tenant_id[]", "tenant_id ", "tenantId", "prefix", "ref", "include", "strict")
		value := pick(g, g.tenant, g.model, g.ref, g.alias, g.file, g.key, func() string { return pick(g, "1", "2", "latest", "original_data", "a", "", "999", "-1", "true") })()
		if g.one(4) {
			value = g.digest
		}
		parts = append(parts, url.QueryEscape(name)+pick(g, "=", "=", "=", "", "==")+pick(g, url.QueryEscape(value), url.QueryEscape(value), escaped(value)))
	}
	return "?" + strings.Join(parts, pick(g, "&", "&", "&", ";"))
}

// fields are a JSON object that says what a request may say, and what it may not.
func (g *stranger) fields() string {
	members := []string{}
	for range 1 + g.r.IntN(3) {
		quoted := func(s string) string {
			text, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string always has a form
			}
			return string(text)
		}
		name := pick(g, "tenant", "tenant", "tenant_id", "tenant_id", "model", "label", "version", "aliases", "description", "tags", "role", "note", "sha256", "user_metadata", "Tenant", "TENANT_ID", "source", "ref", "from", "expect", "features", "prefix", "key")
		value := pick(g, func() string { return quoted(g.tenant()) }, func() string { return quoted(g.tenant()) }, func() string { return quoted(g.model()) }, func() string { return quoted(g.ref()) }, func() string { return quoted(g.digest) },
			func() string { return `["` + crown + `"]` }, func() string { return `["` + "bolt" + `","acme"]` }, func() string { return `{"tenant":"bolt"}` }, func() string { return pick(g, "1", "2", "null", "true", "{}", "[]", "-1", "1e9") })()
		if name == "role" {
			value = quoted(pick(g, "reader", "admin", "operator", "scorer", "root"))
		}
		members = append(members, quoted(name)+":"+value)
	}
	if g.one(3) {
		members = append(members, `"network_data":`+someEvents)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// body is a body, and the content type that goes with it.
func (g *stranger) body() (kind, body string) {
	switch g.r.IntN(9) {
	case 0, 1, 2:
		return "application/json", g.fields()
	case 3:
		return "application/json", pick(g, someEvents, `{"version":1}`, `{"version":2,"expect":0}`, `{"tenant":"bolt","model":"vault"}`, `{"tenant":"bolt"}`, `{"model":"vault"}`, `{"role":"reader"}`, `{"tenant":"acme","tenant":"bolt"}`, `{"tenant":"acme"}{"tenant":"bolt"}`, `{"description":"bolt"}`, "{}", "")
	case 4:
		return "multipart/form-data; boundary=b", formOf("Content-Disposition: form-data; name=\"metadata\"\r\n\r\n"+g.fields(), "Content-Disposition: form-data; name=\"file\"; filename=\""+strings.NewReplacer("\r", "", "\n", "", `"`, "").Replace(g.file())+"\"\r\n\r\ncontent")
	case 5:
		return "application/octet-stream", pick(g, "content", "bolt", "of the same length as others")
	case 6:
		return pick(g, "text/csv", "application/x-ndjson", "text/plain", ""), pick(g, "packet_count\n1\n2\n", `{"packet_count":1}`+"\n", "tenant_id\nbolt\n")
	}
	return "", ""
}

// forge is a token of bolt's key with a secret that is not its own.
func (g *stranger) forge() string { return g.forgeOf(pick(g, "a", "o", "r"), pick(g, "A", "_", "0")) }

// forgeOf is a token of the key that is known, of a role, and with a secret of one letter.
func (g *stranger) forgeOf(role, letter string) string {
	text := "mbk_" + role + g.knowledge.key + "_" + strings.Repeat(letter, 43)
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	check, sum := []byte("_000000"), crc32.ChecksumIEEE([]byte(text))
	for i := 6; i > 0; i-- {
		check[i] = base62[sum%62]
		sum /= 62
	}
	return text + string(check)
}

// next is the next request.
func (g *stranger) next() probe {
	routes := web.Routes()
	route := routes[g.r.IntN(len(routes))]
	p := probe{method: route.Method, host: "localhost"}
	query := g.query()
	if strings.HasSuffix(route.Pattern, "/keys") { // which are listed in the order of ids that each world draws for itself
		query = strings.NewReplacer("after=", "x=", "limit=", "x=").Replace(query)
	}
	p.target = g.path(route.Pattern) + query
	if g.one(6) {
		p.target = g.twist(p.target)
	}
	if g.one(12) {
		p.method = pick(g, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "COPY")
	}
	kind, body := g.body()
	if strings.Contains(p.target, "train") && !g.one(50) {
		body = strings.ReplaceAll(body, "packet_count", "") // else most of the time would go into trainings
	}
	if p.body = body; kind != "" {
		p.headers = append(p.headers, [2]string{"Content-Type", kind})
	}
	switch g.r.IntN(40) {
	case 0:
		p.headers = append(p.headers, [2]string{"Authorization", "Bearer " + g.forge()})
	case 1: // two of them
		p.headers = append(p.headers, [2]string{"Authorization", "Bearer {3}"}, [2]string{"Authorization", "Bearer " + g.forge()})
	case 2:
		p.headers = append(p.headers, [2]string{"Authorization", pick(g, "", "Basic Ym9sdDpib2x0", "Bearer bolt", "Bearer {1}x")})
	default:
		p.headers = append(p.headers, [2]string{"Authorization", fmt.Sprintf("Bearer {%d}", g.r.IntN(2*len(roles)))})
	}
	for g.one(3) {
		p.headers = append(p.headers, g.header())
	}
	if g.one(20) {
		p.host = pick(g, "bolt", "bolt.localhost", "evil.example", "", "127.0.0.1")
	}
	return p
}

// header is one that leads to another tenant elsewhere, or that asks something on the way.
func (g *stranger) header() [2]string {
	return [2]string{
		pick(g, "X-Tenant", "X-Tenant-Id", "X-Scope-Orgid", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-User", "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Amz-Copy-Source", "Cookie", "Forwarded", "Referer",
			"If-Match", "If-None-Match", "If-Range", "If-Modified-Since", "Range", "Idempotency-Key", "Accept", "Content-Encoding", "Origin", "Repr-Digest", "Expect", "Prefer", "Destination", "Content-Location"),
		pick(g, "bolt", "bolt", "/v1/tenants/bolt/models/vault", "127.0.0.1", "*", `"1"`, `"2"`, `"1-000000000000"`, `"`+g.digest+`"`, "bytes=0-3", "bytes=99999-", "tenant=bolt", "for=127.0.0.1;host=bolt", "application/x-ndjson", "GET", "DELETE", "the-key-of-bolt", g.id, "http://bolt", "Thu, 26 Nov 2026 08:00:00 GMT", "sha-256=:AAAA:"),
	}
}
