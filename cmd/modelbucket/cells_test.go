package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"modelbucket/blob/blobtest"
	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web/client"
)

// operation is a column of the matrix: a change, or a read that knows what is right. write
// and body are its decisive calls: the one that is its point, and one whose answer has
// a body that it uses.
type operation struct {
	change
	reads       bool
	write, body target
}

// target says which requests are meant; %s in the URL stands for the tenant.
type target struct{ method, url string }

// lists tells whether the answer is a list: it has no digest.
func (t target) lists() bool { return strings.HasPrefix(t.url, "list-type") }

var errWrong = errors.New("a wrong answer")

func right(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%w: "+format, append([]any{errWrong}, args...)...)
}

func operations() []operation {
	find := func(name string) change {
		all := changes()
		return all[slices.IndexFunc(all, func(c change) bool { return c.name == name })]
	}
	record, alias := target{"PUT", `/%s/.*_versions/.*[0-9]\.json$`}, target{"PUT", `/%s/.*_aliases/`}
	get := func(url string) target { return target{"GET", "/%s/.*" + url} }
	list := func(url string) target { return target{"GET", `list-type=2.*%s` + url} }
	return []operation{
		{find("publish with label and aliases"), false, record, list("%%2Ffraud%%2F_versions")},
		{find("publish in parts"), false, target{"POST", `/%s/.*uploadId=`}, list("%%2Ffraud%%2F_versions")},
		{find("set alias"), false, alias, get(`[0-9]\.json`)},
		{find("move alias"), false, alias, get(`_aliases/stable`)},
		{find("delete version"), false, target{"PUT", `/%s/.*tombstone`}, get(`[0-9]\.json`)},
		{find("restore"), false, record, get(`/a$`)},
		{change{"latest", latest, ""}, true, list("%%2Ffraud%%2F_versions"), get(`metadata\.json`)},
		{change{"list 3 pages", listPages, ""}, true, list(".*start-after=.+"), get(`metadata\.json`)},
		{change{"pull", pull, ""}, true, get(`/big$`), get(`/big$`)},
		{change{"first detect", detect, ""}, true, get(`/model\.joblib$`), get(`/model\.joblib$`)},
		{change{"label", labelled, ""}, true, get(`_labels/`), get(`_labels/`)},
	}
}

func latest(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
	v, err := c.Version(ctx, registry.Ref{Tenant: tenant, Model: "fraud"})
	if err != nil {
		return err
	}
	return right(v.Version == 2 && v.Files[0].Size == 13, "latest is %+v", v)
}

func labelled(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
	v, err := c.Version(ctx, registry.Ref{Tenant: tenant, Model: "fraud", Selector: registry.Selector{Label: "v1"}})
	if err != nil {
		return err
	}
	return right(v.Version == 1, "v1 is %+v", v)
}

func listPages(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
	var numbers []registry.Number
	for v, err := range c.Versions(ctx, tenant, "fraud", client.VersionList{List: client.List{PageSize: 1}, Deleted: true}) {
		if err != nil {
			return err
		}
		numbers = append(numbers, v.Version)
	}
	return right(slices.Equal(numbers, []registry.Number{3, 2, 1}), "the list is %v", numbers)
}

// bigFile is longer than what the program reads into memory before it passes it on.
var bigFile = mebibytes(1)[:100<<10]

func pull(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
	body, err := c.Open(ctx, number(tenant, "edge", 1), "big")
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	return right(string(data) == bigFile, "the file has %d bytes, or others", len(data))
}

func detect(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
	d, err := c.Detect(ctx, registry.Ref{Tenant: tenant, Model: "edge"}, client.BytesOf([]byte(demoQuestion), detector.JSON), client.DetectOptions{})
	if err != nil {
		return err
	}
	return right(d.Version == 1 && len(d.Results) == 1 && d.Results[0].Error == nil, "detect says %+v", d)
}

// fault is a row of the matrix.
type fault struct {
	kind   blobtest.ProxyFault
	always bool // at each call, until it is healed
	onBody bool // it is done to an answer's body
	delay  time.Duration
}

func (f fault) String() string {
	if f.always {
		return string(f.kind) + ", until healed"
	}
	return string(f.kind)
}

func faults() []fault {
	slow, late := 500*time.Millisecond, 300*time.Millisecond
	if long() {
		slow, late = 5*time.Second, time.Second
	}
	return []fault{
		{kind: blobtest.Refuse, delay: 100 * time.Millisecond},
		{kind: blobtest.Hang}, {kind: blobtest.CommitThenHang},
		{kind: blobtest.ResetBefore}, {kind: blobtest.ResetInBody}, {kind: blobtest.CommitThenReset},
		{kind: blobtest.CommitThen500}, {kind: blobtest.CommitThen503},
		{kind: blobtest.CommitLater, delay: late}, {kind: blobtest.CommitTooLate, delay: 10 * time.Millisecond},
		{kind: blobtest.Twice},
		{kind: blobtest.Answer503}, {kind: blobtest.Answer500}, {kind: blobtest.Answer403}, {kind: blobtest.Answer409},
		{kind: blobtest.SlowAnswer, delay: slow},
		{kind: blobtest.SlowBody, onBody: true, delay: slow / 50},
		{kind: blobtest.CutBody, onBody: true}, {kind: blobtest.ShortBody, onBody: true},
		{kind: blobtest.WrongByte, onBody: true}, {kind: blobtest.StaleBody, onBody: true},
		{kind: blobtest.ResetBefore, always: true}, {kind: blobtest.Answer503, always: true}, {kind: blobtest.Answer403, always: true},
		{kind: blobtest.WrongByte, onBody: true, always: true},
	}
}

// rule lets the fault strike the operation of a tenant.
func (f fault) rule(o operation, tenant registry.Tenant, do func()) blobtest.ProxyRule {
	at := o.write
	switch {
	case f.kind == blobtest.StaleBody:
		at = target{"GET", `/%s/.*json$`}
	case f.onBody:
		at = o.body
	}
	r := blobtest.ProxyRule{Fault: f.kind, Method: at.method, URL: regexp.MustCompile(fmt.Sprintf(at.url, tenant)), Nth: 1, Delay: f.delay, Do: do}
	if f.always {
		r.Nth = 0
	}
	return r
}

// patient notes a 503 that does not say when to come again.
type patient struct {
	http.RoundTripper
	wrong func(string)
}

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := p.RoundTripper.RoundTrip(r)
	if err == nil && answer.StatusCode == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") == "" {
		p.wrong(r.Method + " " + r.URL.Path + ": 503 without Retry-After")
	}
	return answer, err
}
