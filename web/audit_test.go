package web_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/registry"
	"modelbucket/web"
)

// logPage is an answer of the log.
type logPage struct {
	Records []registry.AuditRecord `json:"records"`
	Next    string                 `json:"next"`
}

// TestRefusedChangesAreCounted: each caller's attempts at changes are one record a minute
// for each kind, however many they are, and so many kinds; reads are none.
func TestRefusedChangesAreCounted(t *testing.T) {
	atDesk(t, `{}`, func(d *desk) {
		for range 50 {
			d.ask("acme", "PUT", "/v1/tenants/acme", "application/json", `{}`) // an operator's
			d.ask("acme", "DELETE", "/v1/tenants/bolt/models/files", "", "")   // another's
			d.ask("acme", "GET", "/v1/tenants/bolt/models", "", "")            // changes nothing
			d.ask("nobody", "DELETE", "/v1/tenants/acme/models/files", "", "") // of nobody
		}
		for i := range 100 {
			d.ask("acme", "DELETE", fmt.Sprintf("/v1/tenants/bolt/models/m%d", i), "", "")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		var own, others logPage
		decode(d.T, d.ask("root", "GET", "/v1/tenants/acme/log?event=refused&limit=1000", "", ""), 200, &own)
		decode(d.T, d.ask("root", "GET", "/v1/log?event=refused&limit=1000", "", ""), 200, &others)
		sum := map[string]int{}
		for _, a := range own.Records {
			if !strings.HasPrefix(a.By, "key:") || a.Client == "" || a.Tenant != "acme" {
				d.Errorf("%+v", a)
			}
			sum[string(a.Action)+" "+string(a.Named)+" "+a.Code] += a.Count
		}
		if sum["tenant.admin acme forbidden"] != 50 || sum["model.delete bolt tenant_not_found"] < 50 || len(own.Records) > 21 {
			d.Errorf("%d records: %v", len(own.Records), sum)
		}
		all := 0
		for _, n := range sum {
			all += n
		}
		if all != 200 {
			d.Errorf("%d attempts are counted: %v", all, sum)
		}
		if len(others.Records) != 1 || others.Records[0].Count != 50 || others.Records[0].By != "" || others.Records[0].Code != "unauthenticated" {
			d.Errorf("%+v", others.Records)
		}
		var bolts logPage
		decode(d.T, d.ask("root", "GET", "/v1/tenants/bolt/log", "", ""), 200, &bolts)
		for _, a := range bolts.Records {
			if a.Event == registry.AuditRefused {
				d.Errorf("what may not exist is told of where it does: %+v", a)
			}
		}
	})
}

// TestEveryChangingRouteIsLogged: what a route changes, or fails to change, has an intent
// and an end in the log.
func TestEveryChangingRouteIsLogged(t *testing.T) {
	requests := map[string]struct {
		target, kind, body string
		status             int
	}{
		"PUT /v1/tenants/{tenant}":                                         {"/v1/tenants/acme", "application/json", `{"description":"x"}`, 200},
		"POST /v1/tenants/{tenant}/models/{model}/versions":                {"/v1/tenants/acme/models/m/versions", "application/octet-stream", "x", 201},
		"PATCH /v1/tenants/{tenant}/models/{model}":                        {"/v1/tenants/acme/models/m", "application/json", `{"description":"x"}`, 200},
		"PATCH /v1/tenants/{tenant}/models/{model}/versions/{ref}":         {"/v1/tenants/acme/models/m/versions/1", "application/json", `{"description":"x"}`, 200},
		"POST /v1/tenants/{tenant}/models/{model}/versions/{ref}/copy":     {"/v1/tenants/acme/models/m/versions/1/copy", "application/json", `{"model":"c"}`, 201},
		"POST /v1/tenants/{tenant}/models/{model}/versions/{ref}/restore":  {"/v1/tenants/acme/models/m/versions/1/restore", "application/json", `{}`, 201},
		"PUT /v1/tenants/{tenant}/models/{model}/versions/{ref}/signature": {"/v1/tenants/acme/models/m/versions/1/signature", "application/json", `{}`, 422},
		"POST /v1/tenants/{tenant}/models/{model}/train":                   {"/v1/tenants/acme/models/t/train?n_estimators=2", "text/csv", "packet_count\n1\n2\n3\n", 201},
		"POST /models/train":     {"/models/train?tenant_id=acme", "application/json", `{"tenant_id":"acme","network_data":[{"packet_count":1},{"packet_count":2}]}`, 200},
		"DELETE /models/{model}": {"/models/m?tenant_id=acme&version=2", "", "", 200},
		"PUT /v1/tenants/{tenant}/models/{model}/aliases/{alias}":    {"/v1/tenants/acme/models/m/aliases/a", "application/json", `{"version":1}`, 200},
		"DELETE /v1/tenants/{tenant}/models/{model}/aliases/{alias}": {"/v1/tenants/acme/models/m/aliases/a", "", "", 200},
		"DELETE /v1/tenants/{tenant}/models/{model}/versions/{ref}":  {"/v1/tenants/acme/models/m/versions/1", "", "", 200},
		"DELETE /v1/tenants/{tenant}/models/{model}":                 {"/v1/tenants/acme/models/m", "", "", 200},
		"POST /v1/tenants/{tenant}/keys":                             {"/v1/tenants/acme/keys", "application/json", `{"role":"reader"}`, 201},
		"DELETE /v1/tenants/{tenant}/keys/{key}":                     {"/v1/tenants/acme/keys/0000000000", "", "", 404},
		"POST /v1/keys":                                              {"/v1/keys", "application/json", `{"role":"operator"}`, 201},
		"DELETE /v1/keys/{key}":                                      {"/v1/keys/0000000000", "", "", 404},
		"PUT /v1/tenants/{tenant}/signatures":                        {"/v1/tenants/acme/signatures", "application/json", `{"policy":"warn"}`, 200},
		"DELETE /v1/tenants/{tenant}":                                {"/v1/tenants/acme", "", "", 409},
	}
	first := []string{
		"PUT /v1/tenants/{tenant}", "POST /v1/tenants/{tenant}/models/{model}/versions", "POST /v1/tenants/{tenant}/models/{model}/versions/{ref}/restore",
		"PUT /v1/tenants/{tenant}/models/{model}/aliases/{alias}", "DELETE /v1/tenants/{tenant}/models/{model}/aliases/{alias}",
	}
	last := []string{"DELETE /v1/tenants/{tenant}/models/{model}/versions/{ref}", "DELETE /v1/tenants/{tenant}/models/{model}", "DELETE /v1/tenants/{tenant}"}
	names := slices.Clone(first)
	for _, route := range web.Routes() {
		name := route.Method + " " + route.Pattern
		switch route.Permission {
		case web.Public, web.Detect, web.Warm, web.FileVerify:
			continue
		}
		if route.Method != "GET" && !slices.Contains(first, name) && !slices.Contains(last, name) {
			names = append(names, name)
		}
	}
	atDesk(t, `{}`, func(d *desk) {
		ends := func(where string) (ids map[string]registry.AuditEvent) {
			time.Sleep(2 * time.Second)
			ids = map[string]registry.AuditEvent{}
			var page logPage
			decode(d.T, d.ask("root", "GET", where+"?limit=1000", "", ""), 200, &page)
			for _, a := range page.Records { // the end of a change stands before its intent
				switch {
				case a.Event != registry.AuditIntent:
					ids[a.ID] = a.Event
				case ids[a.ID] == "":
					d.Errorf("an intent without an end: %+v", a)
				}
			}
			return ids
		}
		for _, name := range append(names, last...) {
			r, known := requests[name]
			if !known {
				d.Errorf("%s changes something, and this test does not know how", name)
				continue
			}
			where := "/v1/tenants/acme/log"
			if strings.Contains(name, " /v1/keys") {
				where = "/v1/log"
			}
			before := ends(where)
			method, _, _ := strings.Cut(name, " ")
			if w := d.ask("root", method, r.target, r.kind, r.body); w.Code != r.status {
				d.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, r.status)
			}
			after := ends(where)
			if len(after) <= len(before) {
				d.Errorf("%s is not in the log", name)
			}
			want := registry.AuditDone
			if r.status >= 400 {
				want = registry.AuditFailed
			}
			for id, event := range after {
				if before[id] == "" && event != want {
					d.Errorf("%s: %s, want %s", name, event, want)
				}
			}
		}
	})
}
