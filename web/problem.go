package web

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"modelbucket/blob"
	"modelbucket/detector"
	"modelbucket/detector/forest"
	"modelbucket/registry"
)

// Problem is an error as the API answers it: RFC 9457, application/problem+json. Code
// is stable and decides everything else; Detail says what was wrong, Hint what would
// be right. It is an error itself, so that a handler can return one.
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Code     string `json:"code"`
	Detail   string `json:"detail,omitempty"`
	Hint     string `json:"hint,omitempty"`
	Instance string `json:"instance,omitempty"` // the request's id
	// IdempotencyKey settles an outcome_unknown: repeat the request with it.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	// Quota has the figures of a quota_exceeded.
	Quota *registry.QuotaExceeded `json:"quota,omitempty"`

	header http.Header // sent beside the problem
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return strings.ToLower(p.Title)
	}
	return p.Detail
}

// ExitCode is what a program ends with when this problem was its end.
func (p *Problem) ExitCode() int { return exitCode(p.Code) }

func (p *Problem) set(name, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

func (p *Problem) hint(format string, args ...any) *Problem {
	p.Hint = fmt.Sprintf(format, args...)
	return p
}

// The codes of all problems.
const (
	codeBadRequest          = "bad_request"
	codeBadName             = "bad_name"
	codeDigestMismatch      = "digest_mismatch"
	codeUnauthenticated     = "unauthenticated"
	codeForbidden           = "forbidden"
	codeNotFound            = "not_found" // no such route
	codeTenantNotFound      = "tenant_not_found"
	codeModelNotFound       = "model_not_found"
	codeVersionNotFound     = "version_not_found"
	codeAliasNotFound       = "alias_not_found"
	codeFileNotFound        = "file_not_found"
	codeKeyNotFound         = "key_not_found"
	codeMethodNotAllowed    = "method_not_allowed"
	codeConflict            = "conflict"
	codeLabelTaken          = "label_taken"
	codeAliasInUse          = "alias_in_use"
	codeTenantInUse         = "tenant_in_use"
	codeVersionDeleted      = "version_deleted"
	codePreconditionFailed  = "precondition_failed"
	codeTooLarge            = "too_large"
	codeUnsupportedMedia    = "unsupported_media_type"
	codeIdempotencyMismatch = "idempotency_mismatch"
	codeSignatureRequired   = "signature_required"
	codeBadSignature        = "bad_signature"
	codeNotADetector        = "not_a_detector"
	codeTooManyRequests     = "too_many_requests"
	codeQuotaExceeded       = "quota_exceeded"
	codeCorrupt             = "corrupt"
	codeInternal            = "internal"
	codeUnavailable         = "unavailable"
	codeOutcomeUnknown      = "outcome_unknown"
	codeAuthUnavailable     = "auth_unavailable"
)

// kind is all that a code means, but for what happened this time.
type kind struct {
	code   string
	status int
	title  string
	hint   string // where the error itself gives none
	exit   int
}

// kinds is the one table from codes to status, text and exit code.
var kinds = []kind{
	{codeBadRequest, 400, "Bad request", "", 2},
	{codeBadName, 400, "Bad name", "", 2},
	{codeDigestMismatch, 400, "Digest mismatch", "the bytes changed on their way: send them again", 5},
	{codeUnauthenticated, 401, "Token missing or wrong", "send the header Authorization: Bearer <token>", 1},
	{codeForbidden, 403, "Forbidden", "", 1},
	{codeNotFound, 404, "No such path", "the contract is at /openapi.yaml", 3},
	{codeTenantNotFound, 404, "Tenant not found", "a tenant comes into being with its first model", 3},
	{codeModelNotFound, 404, "Model not found", "", 3},
	{codeVersionNotFound, 404, "Version not found", "", 3},
	{codeAliasNotFound, 404, "Alias not found", "", 3},
	{codeFileNotFound, 404, "File not found", "the version's own entry lists its files", 3},
	{codeKeyNotFound, 404, "Key not found", "", 3},
	{codeMethodNotAllowed, 405, "Method not allowed", "the header Allow lists the methods of this path", 1},
	{codeConflict, 409, "Conflict", "others changed the same thing at the same time: look again, then repeat", 4},
	{codeLabelTaken, 409, "Label taken", "a label is given once and for good: choose another", 4},
	{codeAliasInUse, 409, "Alias in use", "move or remove the alias first", 4},
	{codeTenantInUse, 409, "Tenant in use", "delete its models first", 4},
	{codeVersionDeleted, 410, "Version deleted", "its number and label stay taken; a POST to …/restore makes a new version of its files", 3},
	{codePreconditionFailed, 412, "Precondition failed", "look at what is there now, then repeat with its revision", 4},
	{codeTooLarge, 413, "Too large", "", 1},
	{codeUnsupportedMedia, 415, "Unsupported media type", "", 2},
	{codeIdempotencyMismatch, 422, "Idempotency key used before", "use a new key for other content", 1},
	{codeSignatureRequired, 422, "Signature required", "sign it with a key that its tenant trusts: PUT the signature to …/signature, or modelbucket sign", 1},
	{codeBadSignature, 422, "Bad signature", "sign exactly the version's files, with a key that its tenant trusts; nothing was changed", 1},
	{codeNotADetector, 422, "Not a detector", "a detector is an isolation forest of scikit-learn, saved with joblib, with its scaler if it has one", 1},
	{codeTooManyRequests, 429, "Too many requests", "send fewer at once, and this one again after the seconds that Retry-After names", 1},
	{codeQuotaExceeded, 429, "Quota exceeded", "", 1},
	{codeCorrupt, 500, "Corrupt", "the stored object is not what was stored: restore it from a backup of the bucket", 5},
	{codeInternal, 500, "Internal error", "the server's log has the reason under the request id that instance names", 1},
	{codeUnavailable, 503, "Store unavailable", "nothing was saved: try again in a moment", 1},
	{codeOutcomeUnknown, 503, "Outcome unknown", "", 1},
	{codeAuthUnavailable, 503, "Key cannot be checked", "the store, which knows the keys, does not answer: keep the key and try again in a moment", 1},
}

func kindOf(code string) kind {
	for _, k := range kinds {
		if k.code == code {
			return k
		}
	}
	return kind{code: code, status: 500, title: "Error", exit: 1}
}

// Codes lists the codes that a problem can have.
func Codes() (codes []string) {
	for _, k := range kinds {
		codes = append(codes, k.code)
	}
	return codes
}

func exitCode(code string) int { return kindOf(code).exit }

func newProblem(code string) *Problem {
	k := kindOf(code)
	return &Problem{Type: "about:blank", Title: k.title, Status: k.status, Code: k.code, Hint: k.hint}
}

func problemf(code, format string, args ...any) *Problem {
	p := newProblem(code)
	p.Detail = fmt.Sprintf(format, args...)
	return p
}

// telling is how much of an error's text is for the caller.
type telling int

const (
	withheld telling = iota // none: it may speak of endpoints and the like
	behind                  // what follows the sentinel; before it stands what was attempted
	around                  // all but the sentinel: before it stands where, as "event 3"
)

// sentinels maps the errors of the packages below to codes; the first that matches
// counts. Where an error's own text is withheld, the text here stands instead.
var sentinels = []struct {
	err  error
	code string
	tell telling
	text string
}{
	{registry.ErrBadName, codeBadName, behind, ""},
	{registry.ErrOutcomeUnknown, codeOutcomeUnknown, withheld, "the store did not answer in time: the change may have been made, or be made yet"},
	{registry.ErrCorrupt, codeCorrupt, behind, ""},
	{registry.ErrDigestMismatch, codeDigestMismatch, behind, ""},
	{registry.ErrTenantNotFound, codeTenantNotFound, behind, ""},
	{registry.ErrModelNotFound, codeModelNotFound, behind, ""},
	{registry.ErrVersionNotFound, codeVersionNotFound, behind, ""},
	{registry.ErrAliasNotFound, codeAliasNotFound, behind, ""},
	{registry.ErrFileNotFound, codeFileNotFound, behind, ""},
	{registry.ErrKeyNotFound, codeKeyNotFound, behind, ""},
	{registry.ErrVersionDeleted, codeVersionDeleted, behind, ""},
	{registry.ErrLabelTaken, codeLabelTaken, behind, ""},
	{registry.ErrAliasInUse, codeAliasInUse, behind, ""},
	{registry.ErrTenantInUse, codeTenantInUse, behind, ""},
	{registry.ErrPrecondition, codePreconditionFailed, behind, ""},
	{registry.ErrIdempotencyMismatch, codeIdempotencyMismatch, behind, ""},
	{registry.ErrSignatureRequired, codeSignatureRequired, behind, ""},
	{registry.ErrBadSignature, codeBadSignature, behind, ""},
	{registry.ErrTooLarge, codeTooLarge, behind, ""},
	{registry.ErrQuota, codeQuotaExceeded, behind, ""},
	{registry.ErrReadOnly, codeForbidden, behind, ""},
	{registry.ErrConflict, codeConflict, behind, ""},
	{registry.ErrInvalid, codeBadRequest, behind, ""},
	{detector.ErrNotADetector, codeNotADetector, around, ""},
	{detector.ErrDisagrees, codeCorrupt, around, ""},
	{detector.ErrBadEvent, codeBadRequest, around, ""},
	{detector.ErrTooLarge, codeTooLarge, around, ""},
	{detector.ErrBadBody, codeBadRequest, around, ""},
	{detector.ErrInvalid, codeBadRequest, around, ""},
	{forest.ErrParams, codeBadRequest, around, ""},
	{forest.ErrData, codeBadRequest, around, ""},
	{detector.ErrTooMany, codeTooManyRequests, behind, ""},
	{detector.ErrBusy, codeUnavailable, behind, ""},
	{detector.ErrNoRoom, codeUnavailable, withheld, "the detectors in use fill this node's memory"},
	{detector.ErrClosed, codeUnavailable, withheld, "this node is stopping"},
	{blob.ErrStoreURL, codeBadRequest, behind, ""},
	{blob.ErrBroken, codeUnavailable, behind, ""},
	{blob.ErrFull, codeUnavailable, withheld, "the store has no room left; nothing was saved"},
	{blob.ErrDenied, codeUnavailable, withheld, "the store refused this node's credentials or rights; its log says more"},
	{blob.ErrNoBucket, codeUnavailable, withheld, "the bucket does not exist; its operator must make it"},
	{blob.ErrUnavailable, codeUnavailable, withheld, "the store does not answer"},
	{context.DeadlineExceeded, codeUnavailable, withheld, "the store did not answer in time"},
	{context.Canceled, codeUnavailable, withheld, "the request was ended before it was done"},
}

// ProblemOf is the problem that an error means to a caller. An error that is none of
// ours becomes "internal", and its text is withheld.
func ProblemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	for _, s := range sentinels {
		if !errors.Is(err, s.err) {
			continue
		}
		p := newProblem(s.code)
		if p.Detail = s.text; s.tell != withheld {
			p.Detail = tell(err.Error(), s.err.Error(), s.tell)
		}
		if kept, ok := errors.AsType[*registry.SignatureRequired](err); ok {
			p.set("Modelbucket-Version", kept.Ref.Selector.Number.String())
			p.Hint = fmt.Sprintf("sign it with a key that its tenant trusts: PUT the signature to …/versions/%s/signature, or modelbucket sign %s --key FILE", kept.Ref.Selector, kept.Ref)
		}
		if unknown, ok := errors.AsType[*registry.OutcomeUnknown](err); ok {
			p.IdempotencyKey = unknown.Key
			p.set("Idempotency-Key", unknown.Key)
			p.Hint = "repeat the same request with the header Idempotency-Key: " + unknown.Key + "; it is saved once, however often you repeat it"
		} else if s.code == codeOutcomeUnknown {
			p.Hint = "look whether the change is there before you repeat it"
		}
		if exceeded, ok := errors.AsType[*registry.QuotaExceeded](err); ok {
			p.exceeded(exceeded)
		}
		return p
	}
	return newProblem(codeInternal)
}

// exceeded adds the figures, and the way out.
func (p *Problem) exceeded(e *registry.QuotaExceeded) {
	p.Quota = e
	way := "delete versions that nobody needs"
	if e.Limit == registry.LimitStoredBytes {
		way += " (their files count until the collector takes them, 7 days later)"
	}
	p.hint("%s, or have an operator raise it: modelbucket tenant set %s --limit %s=…; GET /v1/tenants/%s shows what there is", way, e.Tenant, e.Limit, e.Tenant)
	p.set("Retry-After", "60") // waiting alone does not help
}

// maxDetail bounds a problem's detail, in bytes: it may repeat what a caller sent.
const maxDetail = 512

// tell is what an error's text says without its sentinel's own words.
func tell(text, sentinel string, how telling) string {
	if before, after, ok := strings.Cut(text, sentinel+": "); ok {
		text = after
		if how == around {
			text = before + after
		}
	}
	if len(text) > maxDetail {
		text = text[:maxDetail] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// write sends the problem as the answer to r.
func (p *Problem) write(x *exchange, r *http.Request) {
	sent := *p
	sent.Instance = x.id
	var answer any = &sent
	contentType := "application/problem+json"
	if x.fastAPI {
		answer = struct {
			Detail string `json:"detail"`
		}{p.Error()}
		contentType = "application/json"
	}
	body, err := encodeJSON(answer)
	if err != nil { // strings and a number: they always encode
		panic(err)
	}
	h := x.Header()
	for name, values := range p.header {
		h[name] = values
	}
	if again := p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests; again && h.Get("Retry-After") == "" {
		h.Set("Retry-After", strconv.Itoa(1+rand.IntN(3))) // not all at the same moment
	}
	if p.Code == codeUnauthenticated {
		h.Set("WWW-Authenticate", `Bearer realm="modelbucket"`)
	}
	h.Set("Cache-Control", "no-store")
	writeBody(x, r, p.Status, contentType, body)
}
