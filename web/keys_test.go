package web_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
	"modelbucket/web"
)

func TestKeyAnswersKeepTheContract(t *testing.T) {
	c := readContract(t)
	n := serve(t, nil)
	schemas := c.follow(c.follow(c.root["components"])["schemas"])
	conforms := func(schema string, answer reply, status int) {
		t.Helper()
		var v any
		answer.must(t, status, &v)
		c.conforms(schema, schemas[schema], v)
	}
	var made struct{ ID registry.KeyID }
	first := n.json("POST", "/v1/tenants/acme/keys", `{"role":"writer","note":"x","expires_at":"2099-01-01T00:00:00Z"}`)
	first.must(t, http.StatusCreated, &made)
	conforms("CreatedKey", first, http.StatusCreated)
	conforms("CreatedKey", n.json("POST", "/v1/keys", `{"role":"operator"}`), http.StatusCreated)
	conforms("Key", n.do("DELETE", "/v1/tenants/acme/keys/"+string(made.ID), nil), http.StatusOK)
	conforms("Key", n.do("DELETE", "/v1/keys/"+string(made.ID), nil), http.StatusOK) // any key
	n.json("POST", "/v1/tenants/acme/keys", `{"role":"reader"}`)
	var page struct{ Next string }
	conforms("KeyPage", n.get("/v1/tenants/acme/keys?limit=1").must(t, http.StatusOK, &page), http.StatusOK)
	conforms("KeyPage", n.get(page.Next), http.StatusOK)
	conforms("KeyPage", n.get("/v1/keys"), http.StatusOK)
	conforms("Problem", n.do("DELETE", "/v1/keys/0123456789", nil), http.StatusNotFound)
	n.json("PUT", "/v1/tenants/empty", `{"description":"x"}`)
	conforms("Tenant", n.do("DELETE", "/v1/tenants/empty", nil), http.StatusOK)
}

// A tenant is deleted when it has no models, at the revision that was seen, and takes its
// keys with it.
func TestDeleteTenant(t *testing.T) {
	c := newCallers(t)
	var problem web.Problem
	if err := json.Unmarshal([]byte(c.must(t, "operator of all", "DELETE", "/v1/tenants/acme", "", http.StatusConflict)), &problem); err != nil || problem.Code != "tenant_in_use" {
		t.Errorf("%+v, %v", problem, err)
	}
	c.must(t, "scorer of acme", "GET", "/v1/detectors", "", http.StatusOK)
	c.must(t, "root", "DELETE", "/v1/tenants/acme/models/fraud/aliases/champion", "", http.StatusOK)
	c.must(t, "admin of acme", "DELETE", "/v1/tenants/acme/models/fraud", "", http.StatusOK)
	c.must(t, "operator of all", "PUT", "/v1/tenants/acme", `{"description":"soon gone"}`, http.StatusOK)
	c.must(t, "operator of all", "DELETE", "/v1/tenants/acme", "", http.StatusPreconditionFailed, "If-Match", `"7"`)
	c.must(t, "operator of all", "DELETE", "/v1/tenants/acme", "", http.StatusOK, "If-Match", `"1"`)
	for who := range c.tokens {
		if strings.HasSuffix(who, " of acme") {
			c.must(t, who, "GET", "/v1/detectors", "", http.StatusUnauthorized)
		}
	}
	c.must(t, "operator of all", "GET", "/v1/tenants/acme", "", http.StatusNotFound)
	c.must(t, "operator of all", "DELETE", "/v1/tenants/acme", "", http.StatusNotFound)
	if text := c.must(t, "root", "GET", "/v1/tenants", "", http.StatusOK); strings.Contains(text, "acme") {
		t.Errorf("it is listed: %s", text)
	}
	c.must(t, "reader of evil", "GET", "/v1/models", "", http.StatusOK)

	c.must(t, "operator of all", "PUT", "/v1/tenants/acme", `{"tags":{"a":"b"}}`, http.StatusOK, "If-None-Match", "*")
	if text := c.must(t, "root", "GET", "/v1/tenants/acme", "", http.StatusOK); strings.Contains(text, "soon gone") {
		t.Errorf("made anew it has its past: %s", text)
	}
	c.must(t, "writer of acme", "GET", "/v1/detectors", "", http.StatusUnauthorized)
}

// liar is a store that lists what belongs to another tenant, whoever asks.
type liar struct{ blob.Bucket }

func (b liar) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	page, err := b.Bucket.List(ctx, o)
	if o.Prefix == "" {
		return page, err
	}
	page.Objects = append([]blob.Object{{Key: "evil/plans/_versions/999999/998-1.json"}, {Key: "evil/plans/_aliases/secret.json"}}, page.Objects...)
	page.Prefixes = append([]string{"evil/plans/"}, page.Prefixes...)
	return page, err
}

// A store that lists another tenant's objects gives none of them away: below the handlers
// they are left out. This holds for root as well, where a path names the tenant.
func TestALyingStoreGivesNothingAway(t *testing.T) {
	n := serve(t, func(o *web.Options) {
		r, err := registry.Open(t.Context(), liar{o.Registry.Bucket()}, registry.Options{Log: o.Log})
		if err != nil {
			t.Fatal(err)
		}
		o.Registry = r
	})
	n.publish("fraud", "?alias=champion", "x")
	for _, path := range []string{"/v1/tenants/acme/models", "/v1/tenants/acme/models?include=latest", fraud, fraud + "/versions", fraud + "/aliases", "/models?tenant_id=acme", "/v1/tenants/acme/keys"} {
		answer := n.get(path).must(t, http.StatusOK, nil)
		for _, hidden := range []string{"plans", "evil", "secret"} {
			if strings.Contains(string(answer.body), hidden) {
				t.Errorf("%s shows %s: %s", path, hidden, answer.body)
			}
		}
	}
}
