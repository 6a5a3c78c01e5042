package web_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
	"modelbucket/web"
)

// TestCanary: tokens are made, used and misused in every way that a caller may think of,
// on all routes, with the log at its most talkative. Afterwards none of their secrets is
// to be found in the log, the metrics, the store, or any answer but the one that handed
// it out.
func TestCanary(t *testing.T) {
	n := serve(t, nil)
	n.publish("fraud", "?alias=champion", "x")
	var secrets, answers []string
	for _, role := range registry.Roles() {
		path := "/v1/tenants/acme/keys"
		if role == registry.Operator {
			path = "/v1/keys"
		}
		var made struct{ Token string }
		n.json("POST", path, fmt.Sprintf(`{"role":%q,"note":"canary"}`, role)).must(t, http.StatusCreated, &made)
		secrets = append(secrets, made.Token)
	}
	requests := 0
	for _, secret := range secrets {
		bearer := "Bearer " + secret
		for _, route := range web.Routes() {
			path, _ := fill(route, "acme")
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			body := func() io.Reader { return strings.NewReader(`{"a":1}`) }
			if route.Method == "GET" || route.Method == "DELETE" {
				body = func() io.Reader { return nil }
			}
			for _, headers := range [][]string{
				{"Authorization", bearer, "Content-Type", "application/json"},
				{"Authorization", "Basic " + secret},
				{"Authorization", forge(secret)},
				{"Authorization", "Bearer " + forge(secret)},
				{"Authorization", bearer + bearer},
				{"Authorization", bearer, "X-Request-Id", secret, "Idempotency-Key", strings.Repeat(secret, 9), "If-Match", secret, "Content-Type", secret, "Range", secret},
				{"Authorization", "", "X-Api-Key", secret, "Cookie", "token=" + secret},
			} {
				sent := path
				if route.Method != "GET" && route.Method != "POST" { // it may change what the others ask for
					sent += sep + "surely_unknown=1"
				}
				answer := n.do(route.Method, sent, body(), headers...)
				requests++
				if !strings.Contains(strings.Join(headers, " "), "X-Request-Id") {
					answers = append(answers, string(answer.body))
				}
			}
			// In the path and in the query, where the caller alone is told of it.
			for _, misplaced := range []string{
				strings.NewReplacer("fraud", secret, "/1/", "/"+secret+"/", "0123456789", secret, "champion", secret).Replace(path),
				path + sep + "token=" + secret, path + sep + secret + "=1", "/v1/tenants/" + secret, "/" + secret, "/v1/keys/" + url.PathEscape(secret), "/v1/tenants/acme/keys/" + secret,
			} {
				method := route.Method
				if method != "GET" && method != "DELETE" {
					method = "GET" // nothing is to be made under such a name
				}
				n.do(method, misplaced, nil, "Authorization", bearer)
				n.do(method, misplaced, nil)
				requests += 2
			}
			n.do("POST", "/v1/tenants/acme/keys", strings.NewReader(fmt.Sprintf(`{"role":%q,%q:%q}`, secret, secret, secret)), "Content-Type", "application/json")
		}
	}
	var list struct{ Keys []json.RawMessage }
	answers = append(answers, string(n.get("/v1/tenants/acme/keys").must(t, http.StatusOK, &list).body), string(n.get("/metrics").body))
	if len(list.Keys) != 5 {
		t.Errorf("%d keys are listed", len(list.Keys))
	}
	stored := everything(t, n.memory)
	hits := 0
	for _, secret := range append(secrets, token) {
		part := secret
		if len(secret) == 66 {
			part = secret[20:50] // of the random bytes alone
		}
		for where, text := range map[string]string{"the log": n.log.String(), "the store": stored, "an answer": strings.Join(answers, "\n")} {
			if i := strings.Index(text, part); i >= 0 {
				hits++
				t.Errorf("%s has a secret: …%s…", where, text[max(0, i-200):min(len(text), i+200)])
			}
		}
	}
	if logged := strings.Count(n.log.String(), "\n"); logged < requests {
		t.Errorf("%d requests, %d lines in the log", requests, logged)
	}
	t.Logf("canary.hits %d in the log, the store and the answers of %d requests", hits, requests)
}

// everything is all that a store holds, keys and contents.
func everything(t *testing.T, b blob.Bucket) string {
	t.Helper()
	var all strings.Builder
	page, err := b.List(t.Context(), blob.ListOptions{})
	if err != nil || page.Next != "" {
		t.Fatal(page.Next, err)
	}
	for _, o := range page.Objects {
		body, _, err := b.Get(t.Context(), o.Key, blob.Range{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, o.Key)
		if _, err := io.Copy(&all, body); err != nil {
			t.Fatal(err)
		}
		body.Close()
	}
	return all.String()
}
