package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
	"modelbucket/web"
)

const fraud = "/v1/tenants/acme/models/fraud"

// bad is one wrong request: what is sent, and what the answer has to be. says is part
// of the detail: what was wrong. hint is part of the hint or detail: what would be right.
type bad struct {
	name, method, path, body string
	headers                  []string
	status                   int
	code, says, hint         string
}

func jsonHeader(more ...string) []string {
	return append([]string{"Content-Type", "application/json"}, more...)
}

func badRequests() []bad {
	multi := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	formHeader := []string{"Content-Type", "multipart/form-data; boundary=b"}
	file := "--b\nContent-Disposition: form-data; name=\"file\"; filename=\"%s\"\n%s\ncontent\n--b--\n"
	metadata := "--b\nContent-Disposition: form-data; name=\"metadata\"\n\n%s\n" + file
	return []bad{
		{"tenant with capitals", "GET", "/v1/tenants/Acme/models", "", nil, 400, "bad_name", `"Acme" is no tenant`, "a-z"},
		{"model with a slash", "GET", "/v1/tenants/acme/models/a%2Fb", "", nil, 400, "bad_name", "segment", "names have"},
		{"tenant of 64", "GET", "/v1/tenants/" + strings.Repeat("a", 64), "", nil, 400, "bad_name", "is no tenant", "1 to 63"},
		{"number 0", "GET", fraud + "/versions/0", "", nil, 400, "bad_name", `"0" is no version number`, "1 to"},
		{"number with zeros", "GET", fraud + "/versions/007", "", nil, 400, "bad_name", "is no version number", ""},
		{"file named as the metadata", "GET", fraud + "/versions/1/files/metadata.json", "", nil, 400, "bad_name", "is no file name", ""},

		{"no such tenant", "GET", "/v1/tenants/nobody", "", nil, 404, "tenant_not_found", "nobody", "first model"},
		{"models of no tenant", "GET", "/v1/tenants/nobody/models", "", nil, 404, "tenant_not_found", "nobody", ""},
		{"no such model", "GET", "/v1/tenants/acme/models/none", "", nil, 404, "model_not_found", "acme/none", ""},
		{"latest of no model", "GET", "/v1/tenants/acme/models/none/versions/latest", "", nil, 404, "model_not_found", "acme/none", ""},
		{"versions of no model", "GET", "/v1/tenants/acme/models/none/versions", "", nil, 404, "model_not_found", "acme/none", ""},
		{"no such version", "GET", fraud + "/versions/9", "", nil, 404, "version_not_found", "acme/fraud has no version 9; latest is 1", ""},
		{"no such label", "GET", fraud + "/versions/v9", "", nil, 404, "version_not_found", "acme/fraud has no version v9", ""},
		{"no such alias", "GET", fraud + "/versions/@nobody", "", nil, 404, "alias_not_found", "has no alias nobody", ""},
		{"no such file", "GET", fraud + "/versions/1/files/other", "", nil, 404, "file_not_found", "has no file other; it has model.joblib", ""},
		{"deleted version", "GET", fraud + "/versions/2", "", nil, 410, "version_deleted", "version 2", "restore"},
		{"deleted version by label", "GET", fraud + "/versions/gone", "", nil, 410, "version_deleted", "version 2", "restore"},
		{"file of a deleted version", "GET", fraud + "/versions/2/files/model.joblib", "", nil, 410, "version_deleted", "", ""},

		{"unknown query parameter", "GET", fraud + "/versions?limt=1", "", nil, 400, "bad_request", `unknown parameter "limt"`, "limit"},
		{"limit 0", "GET", fraud + "/versions?limit=0", "", nil, 400, "bad_request", `limit is "0"`, "1 to 1000"},
		{"limit too high", "GET", "/v1/models?limit=1001", "", nil, 400, "bad_request", "limit", "1 to 1000"},
		{"limit twice", "GET", "/v1/models?limit=1&limit=2", "", nil, 400, "bad_request", "twice", ""},
		{"limit no number", "GET", "/v1/tenants?limit=ten", "", nil, 400, "bad_request", `"ten"`, "1 to 1000"},
		{"before no number", "GET", fraud + "/versions?before=v1", "", nil, 400, "bad_name", "version number", ""},
		{"after no model", "GET", "/v1/tenants/acme/models?after=a/b", "", nil, 400, "bad_name", "is no model", ""},
		{"include what", "GET", "/v1/models?include=all", "", nil, 400, "bad_request", `include is "all"`, "latest"},
		{"query that cannot be decoded", "GET", "/v1/models?a=%zz", "", nil, 400, "bad_request", "cannot be decoded", ""},

		{"empty upload", "POST", fraud + "/versions", "", nil, 400, "bad_request", "empty", "curl -T"},
		{"upload of a form type", "POST", fraud + "/versions", "x", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type", "x-www-form-urlencoded", "octet-stream"},
		{"upload of a pickle type", "POST", fraud + "/versions", "x", []string{"Content-Type", "application/vnd.bentoml+pickle"}, 415, "unsupported_media_type", "pickle", "octet-stream"},
		{"compressed upload", "POST", fraud + "/versions", "x", []string{"Content-Encoding", "gzip"}, 415, "unsupported_media_type", "gzip", "as it is"},
		{"label taken", "POST", fraud + "/versions?label=v1.0", "x", nil, 409, "label_taken", "v1.0 is the label of version 1", "choose another"},
		{"label of a deleted version", "POST", fraud + "/versions?label=gone", "x", nil, 409, "label_taken", "version 2", ""},
		{"label latest", "POST", fraud + "/versions?label=latest", "x", nil, 400, "bad_name", "is no label", `not "latest"`},
		{"file name with dots", "POST", fraud + "/versions?filename=../../x", "x", nil, 400, "bad_name", "is no file name", ""},
		{"digest that does not match", "POST", fraud + "/versions?sha256=" + hexSum("y"), "x", nil, 400, "digest_mismatch", hexSum("x"), "send"},
		{"digest that is none", "POST", fraud + "/versions?sha256=abc", "x", nil, 400, "bad_request", `"abc"`, "64 hex digits"},
		{"Repr-Digest that is none", "POST", fraud + "/versions", "x", []string{"Repr-Digest", "sha-256=:abc:"}, 400, "bad_request", "Repr-Digest", "sha-256=:"},
		{"two digests", "POST", fraud + "/versions?sha256=" + hexSum("x"), "x", []string{"Repr-Digest", "sha-256=:qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=:"}, 400, "bad_request", "two different", ""},
		{"larger than allowed", "POST", fraud + "/versions", strings.Repeat("x", 8<<20+1), nil, 413, "too_large", "larger than the 8388608 bytes", ""},
		{"key used with other content", "POST", fraud + "/versions", "other", []string{"Idempotency-Key", "used-before"}, 422, "idempotency_mismatch", "version 1", "new key"},
		{"key of nothing", "POST", fraud + "/versions", "x", []string{"Idempotency-Key", strings.Repeat("k", 257)}, 400, "bad_request", "257 characters", "UUID"},

		{"form without boundary", "POST", fraud + "/versions", "x", []string{"Content-Type", "multipart/form-data"}, 400, "bad_request", "boundary has 0", "1 to 70"},
		{"form with a long boundary", "POST", fraud + "/versions", "x", []string{"Content-Type", "multipart/form-data; boundary=" + strings.Repeat("b", 71)}, 400, "bad_request", "71 characters", ""},
		{"form that is none", "POST", fraud + "/versions", "x", formHeader, 400, "bad_request", "form is malformed", "boundary"},
		{"form without files", "POST", fraud + "/versions", "--b--\r\n", formHeader, 400, "bad_request", "at least one file", ""},
		{"form cut off in a file", "POST", fraud + "/versions", multi("--b\nContent-Disposition: form-data; name=\"file\"; filename=\"m\"\n\ncont"), formHeader, 400, "bad_request", "breaks off", "send it again"},
		{"form cut off behind a file", "POST", fraud + "/versions", multi("--b\nContent-Disposition: form-data; name=\"file\"; filename=\"m\"\n\ncont\n--b"), formHeader, 400, "bad_request", "breaks off", ""},
		{"file name that leads away", "POST", fraud + "/versions", multi(fmt.Sprintf(file, "../../etc/x", "")), formHeader, 400, "bad_name", "is no file name", ""},
		{"absolute file name", "POST", fraud + "/versions", multi(fmt.Sprintf(file, "/etc/x", "")), formHeader, 400, "bad_name", "is no file name", ""},
		{"file name with a backslash", "POST", fraud + "/versions", multi(fmt.Sprintf(file, `a\\b`, "")), formHeader, 400, "bad_name", "is no file name", ""},
		{"part without a file name", "POST", fraud + "/versions", multi("--b\nContent-Disposition: form-data; name=\"x\"\n\ny\n--b--\n"), formHeader, 400, "bad_request", `part "x" that is no file`, "filename"},
		{"part of an unknown kind", "POST", fraud + "/versions", multi("--b\nX: y\n\ny\n--b--\n"), formHeader, 400, "bad_request", "no Content-Disposition", ""},
		{"part shorter than announced", "POST", fraud + "/versions", multi(fmt.Sprintf(file, "m", "Content-Length: 100\n")), formHeader, 400, "bad_request", "announced with 100 bytes and has 7", ""},
		{"part longer than announced", "POST", fraud + "/versions", multi(fmt.Sprintf(file, "m", "Content-Length: 3\n")), formHeader, 400, "bad_request", "announced with 3 bytes", ""},
		{"metadata with an unknown field", "POST", fraud + "/versions", multi(fmt.Sprintf(metadata, `{"lable":"v3"}`, "m", "")), formHeader, 400, "bad_request", `unknown field "/lable"`, "contract"},
		{"metadata with a key twice", "POST", fraud + "/versions", multi(fmt.Sprintf(metadata, `{"label":"v3","label":"v4"}`, "m", "")), formHeader, 400, "bad_request", `key "label" twice`, "keep one"},
		{"metadata of a list", "POST", fraud + "/versions", multi(fmt.Sprintf(metadata, `[]`, "m", "")), formHeader, 400, "bad_request", "list", ""},
		{"user metadata that is no object", "POST", fraud + "/versions", multi(fmt.Sprintf(metadata, `{"user_metadata":7}`, "m", "")), formHeader, 400, "bad_request", "user_metadata", "for example"},
		{"digest of a file that does not come", "POST", fraud + "/versions", multi(fmt.Sprintf(metadata, `{"sha256":{"other":"`+hexSum("x")+`"}}`, "m", "")), formHeader, 400, "bad_request", `"other"`, "no such file came"},
		{"digest of another content", "POST", fraud + "/versions", multi(fmt.Sprintf(metadata, `{"sha256":{"m":"`+hexSum("x")+`"}}`, "m", "")), formHeader, 400, "digest_mismatch", hexSum("content"), ""},
		{"a file that is another's folder", "POST", fraud + "/versions", multi(fmt.Sprintf("--b\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\n\nx\n"+file, "a/b", "")), formHeader, 400, "bad_request", "a and a/b", ""},
		{"metadata behind a file", "POST", fraud + "/versions", multi("--b\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\n\nx\n--b\nContent-Disposition: form-data; name=\"metadata\"\n\n{}\n--b--\n"), formHeader, 400, "bad_request", "metadata comes after a file", "first"},

		{"change without a type", "PATCH", fraud, `{}`, []string{"Content-Type", ""}, 415, "unsupported_media_type", `""`, "application/json"},
		{"change as text", "PATCH", fraud, `{}`, []string{"Content-Type", "text/plain"}, 415, "unsupported_media_type", "text/plain", "application/json"},
		{"change with an unknown field", "PATCH", fraud, `{"stage":"x"}`, jsonHeader(), 400, "bad_request", `unknown field "/stage"`, ""},
		{"change with a number as a tag", "PATCH", fraud + "/versions/1", `{"tags":{"a":1}}`, jsonHeader(), 400, "bad_request", `number at "/tags/a"`, ""},
		{"change of a larger size", "PATCH", fraud, `{"description":"` + strings.Repeat("x", 1<<20) + `"}`, jsonHeader(), 413, "too_large", "1048576", ""},
		{"description too long", "PATCH", fraud, `{"description":"` + strings.Repeat("x", 70000) + `"}`, jsonHeader(), 413, "too_large", "description has 70000 bytes", "may have"},
		{"change on another revision", "PATCH", fraud, `{"description":"x"}`, jsonHeader("If-Match", `"99"`), 412, "precondition_failed", "expected was 99", "look at"},
		{"revision without quotes", "PATCH", fraud, `{"description":"x"}`, jsonHeader("If-Match", `99`), 400, "bad_request", "If-Match is", `If-Match: "3"`},
		{"If-None-Match of a tag", "PATCH", fraud, `{"description":"x"}`, jsonHeader("If-None-Match", `"1"`), 400, "bad_request", "If-None-Match", "*"},

		{"alias to nothing", "PUT", fraud + "/aliases/champion", `{}`, jsonHeader(), 400, "bad_request", "names no version", `{"version":7}`},
		{"alias to a version that is not there", "PUT", fraud + "/aliases/champion", `{"version":9}`, jsonHeader(), 404, "version_not_found", "has no version 9", ""},
		{"alias to a deleted version", "PUT", fraud + "/aliases/champion", `{"version":2}`, jsonHeader(), 410, "version_deleted", "acme/fraud:2", ""},
		{"alias that is there already", "PUT", fraud + "/aliases/champion", `{"version":1}`, jsonHeader("If-None-Match", "*"), 412, "precondition_failed", "alias champion is at version 1", ""},
		{"alias at another version", "PUT", fraud + "/aliases/champion", `{"version":1,"expect":7}`, jsonHeader(), 412, "precondition_failed", "expected was version 7", ""},
		{"alias named latest", "PUT", fraud + "/aliases/latest", `{"version":1}`, jsonHeader(), 400, "bad_name", "is no alias", ""},
		{"delete an alias that is not there", "DELETE", fraud + "/aliases/nobody", "", nil, 404, "alias_not_found", "nobody", ""},

		{"delete latest without its number", "DELETE", fraud + "/versions/latest", "", nil, 412, "precondition_failed", "version 1 just now", `If-Match: "1"`},
		{"delete latest with another number", "DELETE", fraud + "/versions/latest", "", []string{"If-Match", `"7"`}, 412, "precondition_failed", "it is version 1, expected was 7", ""},
		{"delete with a number that is none", "DELETE", fraud + "/versions/1", "", []string{"If-Match", `"x"`}, 400, "bad_request", "If-Match is", `"7"`},
		{"delete what an alias names", "DELETE", fraud + "/versions/1", "", nil, 409, "alias_in_use", "champion", "alias first"},
		{"delete a model with an alias", "DELETE", fraud, "", nil, 409, "alias_in_use", "champion", "remove the alias first"},
		{"delete a deleted version", "DELETE", fraud + "/versions/2", "", nil, 410, "version_deleted", "", ""},
		{"delete no model", "DELETE", "/v1/tenants/acme/models/none", "", nil, 404, "model_not_found", "", ""},

		{"restore to elsewhere", "POST", fraud + "/versions/1/restore", `{"model":"other"}`, jsonHeader(), 400, "bad_request", "stays in its model", "copy"},
		{"copy without a body", "POST", fraud + "/versions/1/copy", "", nil, 415, "unsupported_media_type", "", "application/json"},
		{"copy to a bad name", "POST", fraud + "/versions/1/copy", `{"tenant":"Other"}`, jsonHeader(), 400, "bad_name", "is no tenant", ""},
		{"copy to a label that is taken", "POST", fraud + "/versions/1/copy", `{"label":"v1.0"}`, jsonHeader(), 409, "label_taken", "v1.0", ""},

		{"range beyond the end", "GET", fraud + "/versions/1/files/model.joblib", "", []string{"Range", "bytes=99-"}, 416, "bad_request", "5 bytes", ""},
	}
}

// TestBadInput sends wrong requests to one model. Each has its status, code, and words;
// and none of them leaves a trace.
func TestBadInput(t *testing.T) {
	n := serve(t, nil)
	n.do("POST", fraud+"/versions?label=v1.0&alias=champion", strings.NewReader("first"), "Idempotency-Key", "used-before").must(t, 201, nil)
	n.publish("fraud", "?label=gone", "second")
	n.do("DELETE", fraud+"/versions/2", nil).must(t, 200, nil)
	before := n.visible()
	for _, row := range badRequests() {
		t.Run(row.name, func(t *testing.T) {
			n := &node{t: t, url: n.url, bucket: n.bucket, log: n.log}
			answer := n.do(row.method, row.path, strings.NewReader(row.body), row.headers...)
			p := answer.problem(t)
			if answer.StatusCode != row.status || p.Code != row.code {
				t.Fatalf("status %d %s, want %d %s: %s", answer.StatusCode, p.Code, row.status, row.code, answer.body)
			}
			if !strings.Contains(p.Detail, row.says) {
				t.Errorf("detail is %q, want …%s…", p.Detail, row.says)
			}
			if !strings.Contains(p.Hint+p.Detail, row.hint) {
				t.Errorf("hint is %q, want …%s…", p.Hint, row.hint)
			}
			if p.Detail == "" || strings.Contains(p.Detail, "registry.") || strings.Contains(p.Detail, "%!") {
				t.Errorf("detail is %q", p.Detail)
			}
		})
	}
	if diff := cmp.Diff(before, n.visible()); diff != "" {
		t.Errorf("something of the wrong requests is to be seen (-before +after):\n%s", diff)
	}
}

// visible is all that can be seen of acme/fraud and its neighbours.
func (n *node) visible() (seen []string) {
	n.t.Helper()
	for _, path := range []string{
		"/v1/tenants", "/v1/models?include=latest", fraud, fraud + "/versions?deleted=1", fraud + "/aliases",
		fraud + "/versions/1", fraud + "/versions/1/files/model.joblib",
	} {
		seen = append(seen, string(n.get(path).must(n.t, 200, nil).body))
	}
	return seen
}

// A body that breaks off leaves nothing, whatever form it has.
func TestBodyCutOff(t *testing.T) {
	n := serve(t, nil)
	n.publish("fraud", "?label=v1.0", "first")
	before := string(n.get(fraud + "/versions?deleted=1").body)
	for name, headers := range map[string]string{
		"announced length": "Content-Length: 100\r\n",
		"chunked":          "Transfer-Encoding: chunked\r\n",
	} {
		body := "content"
		if name == "chunked" {
			body = "7\r\ncontent\r\n"
		}
		conn := n.dial()
		fmt.Fprintf(conn, "POST %s/versions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n%s\r\n%s", fraud, token, headers, body)
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		if len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
			t.Errorf("%s: answer %s", name, answer)
		}
		conn.Close()
	}
	if after := string(n.get(fraud + "/versions?deleted=1").body); after != before {
		t.Errorf("versions were %s, are %s", before, after)
	}
}

// Whatever the store's trouble is, the answer says what it means for the caller, and
// nothing of where the store is.
func TestTroubleOfTheStore(t *testing.T) {
	n := serve(t, nil)
	n.publish("fraud", "", "first")
	secret := "http://10.0.0.7:9000/bucket/acme"
	for _, row := range []struct {
		err        error
		status     int
		code, says string
	}{
		{blob.ErrUnavailable, 503, "unavailable", "does not answer"},
		{blob.ErrFull, 503, "unavailable", "no room"},
		{blob.ErrDenied, 503, "unavailable", "credentials"},
		{blob.ErrNoBucket, 503, "unavailable", "bucket does not exist"},
		{context.DeadlineExceeded, 503, "unavailable", "in time"},
		{errors.New("surprise"), 500, "internal", ""},
	} {
		err := fmt.Errorf("get %s: %w", secret, row.err)
		n.breakStore(err)
		answer := n.do("POST", fraud+"/versions", strings.NewReader("second"))
		n.breakStore(nil)
		p := answer.problem(t)
		if answer.StatusCode != row.status || p.Code != row.code || !strings.Contains(p.Detail, row.says) {
			t.Errorf("%v: status %d %s: %s", row.err, answer.StatusCode, p.Code, p.Detail)
		}
		if strings.Contains(string(answer.body), "10.0.0.7") || strings.Contains(string(answer.body), "surprise") {
			t.Errorf("%v: the answer tells too much: %s", row.err, answer.body)
		}
		if row.status == 503 && answer.Header.Get("Retry-After") == "" {
			t.Errorf("%v: no Retry-After", row.err)
		}
		if !strings.Contains(n.log.String(), "surprise") && row.code == "internal" {
			t.Errorf("the log does not say what happened: %s", n.log)
		}
	}
	n.get(fraud+"/versions/2").must(t, 404, nil)
}

// A commit whose fate is unknown is answered with the key that settles it: repeated with
// it, the request makes one version, whether or not the first one had.
func TestOutcomeUnknown(t *testing.T) {
	for name, fault := range map[string]blobtest.Fault{"it was made": blobtest.Lost, "it was not": blobtest.Before} {
		for _, key := range []string{"", "my-own-key"} {
			t.Run(name+" "+key, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					bucket := blobtest.NewFaulty(blob.NewMemory(), 1)
					r, err := registry.Open(t.Context(), bucket, registry.Options{})
					if err != nil {
						t.Fatal(err)
					}
					s, err := web.New(web.Options{Registry: r, Insecure: true})
					if err != nil {
						t.Fatal(err)
					}
					defer s.Close()
					publish := func(key string) *httptest.ResponseRecorder {
						request := httptest.NewRequest("POST", "http://localhost"+fraud+"/versions", strings.NewReader("content"))
						if key != "" {
							request.Header.Set("Idempotency-Key", key)
						}
						w := httptest.NewRecorder()
						s.ServeHTTP(w, request)
						return w
					}
					records := regexp.MustCompile(`/_versions/[0-9]+/[0-9]+-1\.json$`)
					bucket.SetRules(
						blobtest.Rule{Fault: fault, Operation: blobtest.Put, Key: records},
						blobtest.Rule{Fault: blobtest.Before, Operation: blobtest.Get, Key: records},
					)
					first := publish(key)
					var p web.Problem
					if err := json.Unmarshal(first.Body.Bytes(), &p); err != nil || first.Code != 503 || p.Code != "outcome_unknown" {
						t.Fatalf("status %d: %s", first.Code, first.Body)
					}
					if p.IdempotencyKey == "" || key != "" && p.IdempotencyKey != key || !strings.Contains(p.Hint, "Idempotency-Key: "+p.IdempotencyKey) || first.Header().Get("Retry-After") == "" {
						t.Errorf("the answer does not say how to go on: %s", first.Body)
					}
					bucket.SetRules()
					for range 2 {
						again := publish(p.IdempotencyKey)
						var v registry.Version
						if err := json.Unmarshal(again.Body.Bytes(), &v); err != nil || again.Code != 201 || v.Version != 1 {
							t.Errorf("repeated: status %d: %s", again.Code, again.Body)
						}
					}
					if err := r.Close(context.Background()); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// HEAD tells what GET would, without a body.
func TestHead(t *testing.T) {
	n := serve(t, nil)
	n.publish("fraud", "", "first")
	for _, route := range web.Routes() {
		if route.Method != "GET" {
			continue
		}
		path := strings.NewReplacer("{tenant}", "acme", "{model}", "fraud", "{ref}", "1", "{alias}", "champion", "{name...}", "model.joblib").Replace(route.Pattern)
		get, head := n.do("GET", path, nil), n.do("HEAD", path, nil)
		if get.StatusCode != head.StatusCode {
			t.Errorf("HEAD %s: status %d, GET %d", path, head.StatusCode, get.StatusCode)
		}
		if len(head.body) > 0 {
			t.Errorf("HEAD %s: body %q", path, head.body)
		}
		for _, name := range []string{"Content-Type", "ETag", "Repr-Digest", "Content-Disposition"} {
			if get.Header.Get(name) != head.Header.Get(name) {
				t.Errorf("HEAD %s: %s is %q, for GET %q", path, name, head.Header.Get(name), get.Header.Get(name))
			}
		}
		if route.Pattern != "/metrics" && get.ContentLength != head.ContentLength && get.StatusCode == http.StatusOK {
			t.Errorf("HEAD %s: length %d, GET %d", path, head.ContentLength, get.ContentLength)
		}
	}
}
