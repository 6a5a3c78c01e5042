package web

import (
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"modelbucket/registry"
)

// exchange is one request and its answer under way: the ResponseWriter of the handlers,
// and what the access log and the metrics will say.
type exchange struct {
	http.ResponseWriter
	control *http.ResponseController
	id      string
	began   time.Time
	route   string // its pattern; "" until it is known
	tenant  registry.Tenant
	who     Principal
	client  netip.Addr // that it comes from; see proxies
	fastAPI bool       // of an error's shape
	status  int        // 0: nothing was sent yet
	bytes   int64
	quiet   bool  // of many alike: no line in the log
	err     error // what the answer was, or was cut off by
}

func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && status >= 200 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// A caller has to take an answer at 16 KiB/s, and each piece of it within ten seconds
// more than that.
const (
	takeBytes = 16 << 10 // a second
	takeTime  = 10 * time.Second
)

func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	x.control.SetWriteDeadline(time.Now().Add(takeTime + time.Duration(len(p)/takeBytes)*time.Second)) // in-process there is none
	n, err := x.ResponseWriter.Write(p)
	x.bytes += int64(n)
	return n, err
}

// lingerTime is how long a body may still come that nobody wants any more. net/http reads
// on in it, to use the connection again, and sets no limit of its own.
const lingerTime = time.Second

// endDeadlines limits what net/http does with the connection after the handler: it sends
// what is left in its buffers, and reads what is left of the body.
func (x *exchange) endDeadlines() {
	x.control.SetWriteDeadline(time.Now().Add(takeTime))
	x.control.SetReadDeadline(time.Now().Add(lingerTime))
}

// statusGone stands in the log and the metrics where the caller went away before the
// answer began.
const statusGone = 499

var requestID = regexp.MustCompile(`^[A-Za-z0-9-]{8,64}$`)

// newExchange begins the answer to r. The caller's request id is taken over where it
// has a harmless form.
func newExchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{ResponseWriter: w, control: http.NewResponseController(w), began: time.Now(), id: r.Header.Get("X-Request-Id")}
	if !requestID.MatchString(x.id) {
		x.id = newID()
	}
	h := w.Header()
	h.Set("X-Request-Id", x.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.TLS != nil { // ours: a proxy that speaks TLS says it for itself
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	if len(r.TransferEncoding) > 0 {
		// Beside a chunked body a forged Content-Length may have hidden a second
		// request, which net/http would serve next. It goes down with the connection.
		h.Set("Connection", "close")
	}
	return x
}

func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.NewString()
	}
	return id.String()
}

// log writes the access line. What came from outside is quoted, and no token, path,
// body or feature is in it.
func (x *exchange) log(r *http.Request, log *slog.Logger, aborted bool) {
	level := slog.LevelInfo
	switch {
	case x.status == statusGone, x.quiet:
		level = slog.LevelDebug
	case aborted, x.status >= 500:
		level = slog.LevelError
	case x.route == "/healthz" || x.route == "/readyz":
		level = slog.LevelDebug
	}
	if !log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", printable(r.Method)), slog.String("route", x.route), slog.Int("status", x.status),
		slog.Int64("bytes", x.bytes), slog.Duration("duration", time.Since(x.began)), slog.String("request", x.id),
	}
	if x.tenant != "" {
		attrs = append(attrs, slog.String("tenant", string(x.tenant)))
	}
	if x.client.IsValid() {
		attrs = append(attrs, slog.String("client", x.client.String()))
	}
	if x.who.Name != "" {
		attrs = append(attrs, slog.String("by", x.who.Name))
	}
	if aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	if x.err != nil {
		attrs = append(attrs, slog.String("err", printable(x.err.Error())))
	}
	log.LogAttrs(r.Context(), level, "request", attrs...)
}

// printable is text for a terminal and a log: quoted if it could do more there than be
// read, and without tokens.
func printable(s string) string {
	s = registry.HideTokens(s)
	if len(s) > 2*maxDetail {
		s = s[:2*maxDetail] + "…"
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.QuoteToASCII(s)
	}
	return s
}
