// Package client speaks the registry's HTTP API, and nothing else: whatever the command
// line can do, any program can do over the same routes.
//
// Methods take and return the registry's own types. An error that the server answered is
// an *Error, with its code and the exit code of a program that ends with it. Uploads and
// downloads stream; a download is verified while it is read. Requests that can be
// repeated without harm are repeated when the answer was lost or the server was busy:
// reads, and creations, which carry an idempotency key.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"modelbucket/registry"
	"modelbucket/web"
)

// Error is what the server answered instead of a result.
type Error struct{ web.Problem }

// Options of a client; the zero value is ready for use.
type Options struct {
	// Token is sent with each request, where it is not empty.
	Token string
	// Transport carries the requests (nil: one like http.DefaultTransport). InProcess
	// makes one that calls a handler.
	Transport http.RoundTripper
	// Tries bounds how often a request is sent that can be repeated (0: 4).
	Tries int
	// OnRetry is told before each repeat what went wrong and how long it will wait.
	OnRetry func(err error, wait time.Duration)
}

// Client calls one server. It is safe for concurrent use.
type Client struct {
	base    *url.URL
	options Options
	http    *http.Client
}

// New makes a client of the server at an http or https URL.
func New(server string, o Options) (*Client, error) {
	base, err := url.Parse(server)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("%q is no address of a server: it looks like http://127.0.0.1:8080", server)
	}
	if base.User != nil {
		return nil, errors.New("the address of a server has no user or password in it: give the token apart")
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	if o.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableCompression = true // what comes is what is hashed
		t.MaxIdleConnsPerHost = 32
		t.ExpectContinueTimeout = 3 * time.Second
		o.Transport = t
	}
	if o.Tries <= 0 {
		o.Tries = 4
	}
	if o.OnRetry == nil {
		o.OnRetry = func(error, time.Duration) {}
	}
	never := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a token goes nowhere else
	return &Client{base: base, options: o, http: &http.Client{Transport: o.Transport, CheckRedirect: never}}, nil
}

// request is one request, which may be sent several times.
type request struct {
	method string
	path   string // escaped
	query  url.Values
	header http.Header
	// body opens the body anew for each try (nil: there is none). length is its size
	// in bytes, or -1.
	body   func() (io.ReadCloser, error)
	length int64
	// once: the body cannot be opened again.
	once bool
	// repeatable: a repeat does no harm, even if an earlier try was carried out.
	repeatable bool

	sent *ownBody // the body of the last try
}

// blame returns the failure of the caller's own body, where that is the cause of
// whatever err the server or the line made of it.
func (r *request) blame(err error) error {
	if err != nil && r.sent != nil && r.sent.err.Load() != nil {
		return &bodyError{*r.sent.err.Load()}
	}
	return err
}

func (r *request) set(name, value string) *request {
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set(name, value)
	return r
}

// withJSON gives the request a JSON body.
func (r *request) withJSON(v any) (*request, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return r.withBytes("application/json", data), nil
}

func (r *request) withBytes(contentType string, data []byte) *request {
	r.body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	r.length = int64(len(data))
	return r.set("Content-Type", contentType)
}

// send sends the request until it has an answer that counts. The caller closes the
// answer's body.
func (c *Client) send(ctx context.Context, r *request) (*http.Response, error) {
	for try := 1; ; try++ {
		answer, err := c.once(ctx, r)
		if err == nil {
			return answer, nil
		}
		if try == c.options.Tries || r.once || ctx.Err() != nil || !mayRepeat(r, err) {
			return nil, err
		}
		wait := time.Duration(1<<try)*50*time.Millisecond + rand.N(100*time.Millisecond)
		if refused, ok := errors.AsType[*retryAfter](err); ok {
			wait = max(wait, refused.wait)
		}
		c.options.OnRetry(err, wait)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// retryAfter is an *Error that says when to come again.
type retryAfter struct {
	err  *Error
	wait time.Duration
}

func (e *retryAfter) Error() string { return e.err.Error() }
func (e *retryAfter) Unwrap() error { return e.err }

// bodyError is a failure of the caller's own body.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// mayRepeat tells whether to send a request again. One that may have been carried out
// is repeated only if that does no harm.
func mayRepeat(r *request, err error) bool {
	if _, own := errors.AsType[*bodyError](err); own {
		return false
	}
	if answered, ok := errors.AsType[*Error](err); ok {
		switch answered.Code {
		case "too_many_requests", "auth_unavailable": // nothing was begun
			return true
		case "unavailable", "outcome_unknown":
			return r.repeatable
		}
		return false
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true // nothing was sent
	}
	return r.repeatable
}

// once sends the request once. An answer that is no success is an error.
func (c *Client) once(ctx context.Context, r *request) (*http.Response, error) {
	u := *c.base
	u.RawPath = c.base.EscapedPath() + r.path
	var err error
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return nil, err
	}
	u.RawQuery = r.query.Encode()
	hr, err := http.NewRequestWithContext(ctx, r.method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	hr.URL = &u
	for name, values := range r.header {
		hr.Header[name] = values
	}
	if c.options.Token != "" {
		hr.Header.Set("Authorization", "Bearer "+c.options.Token)
	}
	if r.body != nil {
		body, err := r.body()
		if err != nil {
			return nil, &bodyError{err}
		}
		r.sent = &ownBody{ReadCloser: body}
		hr.Body, hr.ContentLength = r.sent, r.length
		if r.length < 0 || r.length > 1<<20 {
			hr.Header.Set("Expect", "100-continue") // a refusal comes before the upload
		}
	}
	answer, err := c.http.Do(hr)
	if err == nil && answer.StatusCode < 300 {
		return answer, nil
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w", r.method, c.base.Host, errors.Unwrap(err))
	} else {
		err = refusal(answer)
		answer.Body.Close()
	}
	return nil, r.blame(err)
}

// refusal reads the problem that an answer is.
func refusal(answer *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20)) // as much of it as comes
	e := &Error{}
	if json.Unmarshal(text, &e.Problem) != nil || e.Code == "" {
		code := "internal"
		switch answer.StatusCode {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			code = "unavailable"
		case http.StatusTooManyRequests:
			code = "too_many_requests"
		}
		e.Problem = web.Problem{
			Status: answer.StatusCode, Code: code, Title: http.StatusText(answer.StatusCode),
			Detail: fmt.Sprintf("the server answered %d: %.100q", answer.StatusCode, strings.TrimSpace(string(text))),
		}
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		return &retryAfter{e, time.Duration(min(seconds, 30)) * time.Second}
	}
	return e
}

// fetch sends the request and decodes the JSON answer.
func (c *Client) fetch(ctx context.Context, r *request, into any) error {
	answer, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		return fmt.Errorf("%s %s: answer broke off or is no JSON: %w", r.method, r.path, err)
	}
	return nil
}

// path joins segments to an escaped path, each segment escaped by itself.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

func tenantPath(t registry.Tenant, more ...string) string {
	return path(append([]string{"v1", "tenants", string(t)}, more...)...)
}

func modelPath(t registry.Tenant, m registry.Model, more ...string) string {
	return tenantPath(t, append([]string{"models", string(m)}, more...)...)
}

func refPath(r registry.Ref, more ...string) string {
	return modelPath(r.Tenant, r.Model, append([]string{"versions", r.Selector.String()}, more...)...)
}
