package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"modelbucket/detector"
	"modelbucket/registry"
)

// call is one request as a handler sees it: it was let in, and the names in its path
// are parsed. Which of them are set depends on the route's pattern.
type call struct {
	w *exchange
	r *http.Request

	who     Principal
	rights  rights
	share   *share // of what its tenant may ask for
	tenant  registry.Tenant
	model   registry.Model
	version registry.Selector
	alias   registry.Alias
	file    registry.FileName
	key     registry.KeyID

	reads *detector.Gate // of all that is read
	held  *holding       // of reads; nil: nothing
}

func (c *call) ref() registry.Ref {
	return registry.Ref{Tenant: c.tenant, Model: c.model, Selector: c.version}
}

// name parses one name of the path.
func (c *call) name(parameter, value string) (err error) {
	switch parameter {
	case "tenant":
		c.tenant, err = registry.ParseTenant(value)
		c.w.tenant = c.tenant
	case "model":
		c.model, err = registry.ParseModel(value)
	case "ref":
		c.version, err = registry.ParseSelector(value)
	case "alias":
		c.alias, err = registry.ParseAlias(strings.TrimPrefix(value, "@"))
	case "key":
		c.key, err = registry.ParseKeyID(value)
	case "name":
		c.file, err = registry.ParseFileName(value)
	default:
		err = fmt.Errorf("route with an unknown parameter %s", parameter)
	}
	return err
}

// confine keeps all that the request does from now on within a tenant.
func (c *call) confine(t registry.Tenant) {
	c.r = c.r.WithContext(registry.WithScope(c.r.Context(), t))
}

// body is the request's body with a limit, in bytes.
func (c *call) body(limit int64) *requestBody {
	return &requestBody{c: c, body: c.r.Body, control: c.w.control, limit: limit, left: bodyPause}
}

// query is a request's query, all of whose parameters are known.
type query struct{ url.Values }

// query parses the query and refuses a parameter that is not among the known ones, or
// that is given twice; one whose name ends in "…" may be repeated.
func (c *call) query(known ...string) (query, error) {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return query{}, problemf(codeBadRequest, "the query cannot be decoded")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) { // the same answer to the same request
		given := values[name]
		switch {
		case slices.Contains(known, name+"…"):
		case !slices.Contains(known, name):
			p := problemf(codeBadRequest, "the query has an unknown parameter %s", shown(name))
			if len(known) > 0 {
				p.hint("known here: %s", strings.ReplaceAll(strings.Join(known, ", "), "…", ""))
			}
			return query{}, p
		case len(given) > 1:
			return query{}, problemf(codeBadRequest, "the query has the parameter %s twice", name)
		}
	}
	return query{values}, nil
}

// The most that a page may have, and what it has where nobody says.
const (
	maxLimit     = 1000
	defaultLimit = 100
)

func (q query) limit() (int, error) {
	if !q.Has("limit") {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(q.Get("limit"))
	if err != nil || n < 1 || n > maxLimit {
		return 0, problemf(codeBadRequest, "limit is %s; it can be 1 to %d", shown(q.Get("limit")), maxLimit)
	}
	return n, nil
}

// flag reads a switch: "1" and "true" are on, "0" and "false" off.
func (q query) flag(name string) (bool, error) {
	switch q.Get(name) {
	case "", "0", "false":
		return false, nil
	case "1", "true":
		return true, nil
	}
	return false, problemf(codeBadRequest, "%s is %s; it can be 1 or 0", name, shown(q.Get(name)))
}

// next is the URL of the page that begins behind the values given in pairs.
func (c *call) next(q query, pairs ...string) string {
	values := url.Values{}
	for name, given := range q.Values {
		values[name] = given
	}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	u := (&url.URL{Path: c.r.URL.Path}).EscapedPath() + "?" + values.Encode()
	c.w.Header().Set("Link", "<"+u+`>; rel="next"`)
	return u
}

// encodeJSON is the one form in which answers are written.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return b.Bytes(), nil
}

// json answers with a document.
func (c *call) json(status int, v any) error {
	body, err := encodeJSON(v)
	if err != nil {
		return err
	}
	return c.document(status, body)
}

// document answers with JSON. A large answer to a read is counted for as long as the caller
// takes to take it; one to a change is given in any case: it was made.
func (c *call) document(status int, body []byte) error {
	if len(body) >= largeAnswer && c.r.Method == http.MethodGet {
		if err := c.hold(int64(len(body))); err != nil {
			return err
		}
	}
	writeBody(c.w, c.r, status, "application/json", body)
	return nil
}

// A tag makes the ETag of a document of its digest: see revisionTag and wholeTag.
type tag func(digest string) string

// tagged answers a read with a document and its ETag, or with 304 where the caller has
// it already.
func (c *call) tagged(v any, t tag) error {
	body, etag, err := encodeTagged(v, t)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("ETag", etag)
	h.Set("Cache-Control", "private, no-cache")
	if none := c.r.Header.Get("If-None-Match"); none != "" && matches(none, etag) {
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return c.document(http.StatusOK, body)
}

// changed answers a change with the document as it is now, and its ETag.
func (c *call) changed(v any, t tag) error { return c.tellTag(http.StatusOK, v, t) }

func (c *call) tellTag(status int, v any, t tag) error {
	body, etag, err := encodeTagged(v, t)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", etag)
	return c.document(status, body)
}

func encodeTagged(v any, t tag) (body []byte, etag string, err error) {
	if body, err = encodeJSON(v); err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(body)
	return body, `"` + t(hex.EncodeToString(sum[:6])) + `"`, nil
}

// revisionTag is for an object whose revision says all about it: "3".
func revisionTag(revision int64) tag {
	return func(string) string { return strconv.FormatInt(revision, 10) }
}

// wholeTag is for an object that also shows what has no revision, as a version shows
// its aliases: "3-9f86d081884c". In If-Match only the revision counts.
func wholeTag(revision int64) tag {
	return func(digest string) string { return strconv.FormatInt(revision, 10) + "-" + digest }
}

// matches tells whether a list of entity tags names this one (RFC 9110 §13.1.2).
func matches(header, etag string) bool {
	if strings.TrimSpace(header) == "*" {
		return true
	}
	for tag := range strings.SplitSeq(header, ",") {
		if strings.TrimPrefix(strings.TrimSpace(tag), "W/") == etag {
			return true
		}
	}
	return false
}

// expectation is what If-Match or If-None-Match demand of a change: nil is nothing,
// 0 that the object is not there yet.
func (c *call) expectation() (*int64, error) {
	match, none := c.r.Header.Get("If-Match"), c.r.Header.Get("If-None-Match")
	switch {
	case none == "*" && match == "":
		return new(int64), nil
	case none != "":
		return nil, problemf(codeBadRequest, "If-None-Match can only be * in a change")
	case match == "" || match == "*": // who changes what is not there is told so anyway
		return nil, nil
	}
	n, err := tagNumber(match)
	if err != nil {
		return nil, problemf(codeBadRequest, "If-Match is %s", shown(match)).hint(`send the revision in double quotes, for example If-Match: "3"`)
	}
	return &n, nil
}

// tagNumber is the number at the beginning of an entity tag.
func tagNumber(tag string) (int64, error) {
	inner, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	if !ok || !closed {
		return 0, strconv.ErrSyntax
	}
	digits, _, _ := strings.Cut(inner, "-")
	n, err := strconv.ParseUint(digits, 10, 62)
	return int64(n), err
}

// writeBody sends a whole answer. HEAD gets its headers only.
func writeBody(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body) // an error is the caller's going away: nobody is left to be told
	}
}
