package web_test

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
	"modelbucket/web"
)

// TestDamageIsTold: whatever object is damaged, who asks for what it holds is told
// "corrupt", its key and what can be done, a program ends with 5, and another model of
// the same tenant goes on; but for the tenant's own object, without which nobody knows
// what it asks of its versions: then another tenant does.
func TestDamageIsTold(t *testing.T) {
	n := serve(t, nil)
	n.json("PUT", "/v1/tenants/acme", `{"description":"damaged below"}`).must(t, 200, nil)
	n.json("POST", "/v1/tenants/beta/models/other/train?n_estimators=5&alias=champion", toJSON(t, events(100))).must(t, 201, nil)
	for _, model := range []string{"fraud", "other"} {
		n.json("POST", "/v1/tenants/acme/models/"+model+"/train?n_estimators=5", toJSON(t, events(100)), "Idempotency-Key", "once").must(t, 201, nil)
		n.json("PUT", "/v1/tenants/acme/models/"+model+"/aliases/champion", `{"version":1}`).must(t, 200, nil)
		n.json("PATCH", "/v1/tenants/acme/models/"+model+"/versions/1", `{"description":"x"}`).must(t, 200, nil)
		n.publish(model, "?label=v2", "bytes")
		n.publish(model, "", "more bytes")
		n.do("DELETE", "/v1/tenants/acme/models/"+model+"/versions/3", nil).must(t, 200, nil)
	}
	for _, row := range []struct {
		kind, key          string
		method, path, body string
	}{
		{"tenant", `^acme/_tenant\.json$`, "GET", "/v1/tenants/acme", ""},
		{"model", `^acme/fraud/_model\.json$`, "GET", fraud, ""},
		{"record", `fraud/_versions/.*-1\.json$`, "GET", fraud + "/versions/1", ""},
		{"attributes", `fraud/_versions/.*-1\.attributes\.json$`, "GET", fraud + "/versions/1", ""},
		{"tombstone", `fraud/_versions/.*-3\.tombstone\.json$`, "GET", fraud + "/versions?deleted=1", ""},
		{"label", `fraud/_labels/v2\.json$`, "GET", fraud + "/versions/v2", ""},
		{"alias", `fraud/_aliases/champion\.json$`, "POST", fraud + "/versions/@champion/detect", oneEvent},
		{"metadata", `fraud/v2\..*/metadata\.json$`, "GET", fraud + "/versions/2", ""},
		{"operation", `fraud/_operations/`, "POST", fraud + "/train?n_estimators=5", toJSON(t, events(100))},
		{"file, to be scored with", `fraud/2.*/model\.joblib$`, "POST", fraud + "/versions/1/detect", oneEvent},
		{"file, to be read", `fraud/2.*/model\.joblib$`, "GET", fraud + "/versions/1/files/model.joblib", ""},
	} {
		t.Run(row.kind, func(t *testing.T) {
			ctx := context.Background()
			fresh := another(t, n) // a node that remembers nothing
			page, err := n.memory.List(ctx, blob.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			match, key := regexp.MustCompile(row.key), ""
			for _, o := range page.Objects {
				if match.MatchString(o.Key) {
					key = o.Key
					break
				}
			}
			body, _, err := n.memory.Get(ctx, key, blob.Range{})
			if err != nil {
				t.Fatalf("no object %s: %v", row.key, err)
			}
			good, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			bad := bytes.Clone(good)
			bad[len(bad)/2] ^= 0x20
			put := func(data []byte) {
				if _, err := n.memory.Put(ctx, key, bytes.NewReader(data), blob.PutOptions{Size: int64(len(data))}); err != nil {
					t.Fatal(err)
				}
			}
			put(bad)
			defer put(good)
			p := fresh.json(row.method, row.path, row.body, "Idempotency-Key", "once").problem(t)
			if p.Status != 500 || p.Code != "corrupt" || p.ExitCode() != 5 || !strings.Contains(p.Detail, key) || !strings.Contains(p.Hint, "backup") {
				t.Errorf("%s %s: %+v; want corrupt, and %s named", row.method, row.path, p, key)
			}
			other := "/v1/tenants/acme/models/other/versions"
			if row.kind == "tenant" {
				for _, refused := range []reply{fresh.json("POST", other+"/@champion/detect", oneEvent), fresh.do("POST", other, strings.NewReader("x"))} {
					if p := refused.problem(t); p.Code != "corrupt" || !strings.Contains(p.Detail, key) {
						t.Errorf("%s: %+v", refused.Request.URL.Path, p)
					}
				}
				other = "/v1/tenants/beta/models/other/versions"
			}
			fresh.json("POST", other+"/@champion/detect", oneEvent).must(t, 200, nil)
			fresh.get(other+"?deleted=1").must(t, 200, nil)
			fresh.do("POST", other, strings.NewReader("goes on")).must(t, 201, nil)
		})
	}
}

// another is a second node on the store of the first.
func another(t *testing.T, n *node) *node {
	t.Helper()
	return serve(t, func(o *web.Options) {
		r, err := registry.Open(t.Context(), n.bucket, registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		o.Registry = r
	})
}
