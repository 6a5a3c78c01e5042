// Package web is the registry over HTTP: one table of routes (routes.go), one table of
// errors (problem.go), and handlers that turn requests into calls of the packages below.
//
// A request passes, in this order: its path is decoded once (path.go), the table finds
// its route, the caller is known and allowed (access.go), the announced size is
// admissible. Only then a handler runs, and only the handler reads the body or asks the
// store, which before it was asked at most for a key that this node did not know
// (keyring.go). What a handler returns as an error becomes the answer; if part of an answer is
// on its way already, the connection breaks, so that a half never looks like a whole.
package web

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"modelbucket/detector"
	"modelbucket/detector/forest"
	"modelbucket/registry"
	"modelbucket/registry/signature"
)

// Options of a server. Registry must be set; all else has a default.
type Options struct {
	Registry *registry.Registry
	// RootToken is the one token for everything, beside the keys in the bucket. Insecure
	// asks nobody for any: that is for a listener on the loopback address only.
	RootToken registry.RootToken
	Insecure  bool
	// AuthGrace is how long API keys that are known go on scoring, and nothing else, while
	// the store is away (0: 15 min; negative: not at all).
	AuthGrace time.Duration
	// Hosts are the names under which the server may be called, beside localhost and
	// addresses. Without any, every name will do, unless Insecure is set.
	Hosts []string
	// Pool and Resolver are what detectors are scored with (nil: ones of its own).
	Pool     *detector.Pool
	Resolver *detector.Resolver
	// OIDC says whose tokens are taken beside keys (nil: nobody's).
	OIDC *OIDC
	// Certificate makes Serve speak TLS (nil: plain HTTP).
	Certificate *Certificate
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// MaxConnections and MaxConnectionsPerAddress bound what Serve keeps open (0: 10,000
	// and 256). A trusted proxy may have as many as there are.
	MaxConnections, MaxConnectionsPerAddress int
	// MaxUpload bounds one upload, in bytes (0: registry.DefaultMaxUpload).
	MaxUpload int64
	// WorkBytes is the memory for requests under way, in bytes (0: 1 GiB): a quarter each
	// for uploads, trainings, events that are judged, and files that are read.
	WorkBytes int64
	// Signer, unless it is nil, signs what is trained here.
	Signer *signature.Signer
	// Metrics counts (nil: a new one).
	Metrics *Metrics
	// Python is served at /modelbucket.py, where it is set.
	Python []byte
	// Drain is how long requests are still answered, and readyz says no, once the
	// server was told to stop: balancers must see it (0: 5 s, negative: not at all).
	Drain time.Duration
	// Finish is how long requests under way may then take to finish (0: 30 s).
	Finish time.Duration
	// Log gets a line for each request (nil: none).
	Log *slog.Logger
}

// Server answers requests. It is an http.Handler, so it can be called in-process, and
// Serve makes it a server on a listener.
type Server struct {
	options  Options
	registry *registry.Registry
	metrics  *Metrics
	log      *slog.Logger
	router   *echo.Echo
	origins  *http.CrossOriginProtection
	hosts    []string // in lower case
	proxies  proxies
	issuer   *issuer // nil: none
	health   health
	keys     *keyring

	pool     *detector.Pool
	resolver *detector.Resolver
	own      []func() // close what was not given
	works    *works
	rations  *rations
	refused  *refused
	answers  sync.Pool // of *[]byte: buffers of answers to detect

	stopping atomic.Bool        // readyz says no
	end      context.Context    // over when requests under way have to end
	endAll   context.CancelFunc // ends them
}

// New makes a server.
func New(o Options) (*Server, error) {
	if o.Registry == nil {
		return nil, errors.New("a server needs a registry")
	}
	o.MaxConnections = cmp.Or(o.MaxConnections, maxConnections)
	o.MaxConnectionsPerAddress = cmp.Or(o.MaxConnectionsPerAddress, maxConnectionsPer)
	if o.MaxUpload <= 0 {
		o.MaxUpload = registry.DefaultMaxUpload
	}
	if o.WorkBytes <= 0 {
		o.WorkBytes = workBytes
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Drain == 0 {
		o.Drain = 5 * time.Second
	}
	if o.AuthGrace == 0 {
		o.AuthGrace = defaultGrace
	}
	if o.Finish <= 0 {
		o.Finish = 30 * time.Second
	}
	s := &Server{
		options: o, registry: o.Registry, metrics: o.Metrics, log: o.Log,
		router: echo.New(), origins: http.NewCrossOriginProtection(), proxies: o.TrustedProxies,
	}
	if o.OIDC != nil {
		var err error
		if s.issuer, err = newIssuer(*o.OIDC, o.Log); err != nil {
			return nil, err
		}
		s.own = append(s.own, s.issuer.keys.close)
	}
	for _, host := range o.Hosts {
		s.hosts = append(s.hosts, strings.ToLower(host))
	}
	s.works = newWorks(o.WorkBytes, func(t registry.Tenant) int64 { return o.Registry.KnownLimit(t, registry.LimitUploads) })
	s.rations = newRations(o.Registry)
	s.own = append(s.own, s.rations.close)
	s.refused = newRefused(o.Registry)
	s.own = append(s.own, s.refused.close)
	s.answers.New = func() any { return new([]byte) }
	if s.pool = o.Pool; s.pool == nil {
		s.pool = detector.NewPool(o.Registry, detector.PoolOptions{Share: func(t registry.Tenant) int64 { return o.Registry.KnownLimit(t, registry.LimitCachedBytes) }})
		s.own = append(s.own, s.pool.Close)
	}
	if s.resolver = o.Resolver; s.resolver == nil {
		s.resolver = detector.NewResolver(o.Registry, detector.ResolverOptions{})
		s.own = append(s.own, s.resolver.Close)
	}
	o.Metrics.observe(s.pool)
	o.Metrics.observeWorks(s.works)
	o.Metrics.registry.MustRegister(s.rations.refused, s.rations.delayed)
	s.end, s.endAll = context.WithCancel(context.Background())
	s.health.ping = s.pingBucket
	s.keys = newKeyring(o.Registry, o.AuthGrace, o.Log)
	s.own = append(s.own, s.keys.close)
	if err := s.mount(s.router, Routes()); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close lets go of what the server made for itself, when no request is under way any
// more. What it was given is for its owner to close.
func (s *Server) Close() {
	s.endAll()
	for _, end := range s.own {
		end()
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := newExchange(w, r)
	x.client = s.proxies.client(r)
	s.metrics.inFlight.Inc()
	aborted := true
	defer func() {
		if aborted { // by http.ErrAbortHandler, which net/http knows: it breaks the connection
			recover()
		}
		s.metrics.inFlight.Dec()
		s.metrics.answered(x, r.Method)
		x.log(r, s.log, aborted)
		x.endDeadlines()
		if aborted {
			panic(http.ErrAbortHandler)
		}
	}()
	if err := s.answer(x, r); err != nil {
		s.fail(x, r, err)
	}
	aborted = false
}

// answer finds and runs the handler.
func (s *Server) answer(x *exchange, r *http.Request) (err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			if recovered == http.ErrAbortHandler {
				panic(recovered)
			}
			s.log.Error("panic", "request", x.id, "value", printable(fmt.Sprint(recovered)), "stack", string(debug.Stack()))
			err = errors.New("panic")
		}
	}()
	if err := s.admitHost(r); err != nil {
		return err
	}
	if err := s.admitOrigin(r); err != nil {
		return err
	}
	path, err := decodePath(r.URL.EscapedPath())
	if err != nil {
		return err
	}
	r.URL.Path, r.URL.RawPath = path, ""
	return s.route(x, r)
}

// route runs the handler that the router finds, and returns its error.
func (s *Server) route(x *exchange, r *http.Request) error {
	c := s.router.AcquireContext()
	defer s.router.ReleaseContext(c)
	c.Reset(r, x)
	s.router.Router().Find(r.Method, r.URL.Path, c)
	err := c.Handler()(c)
	if wrong, ok := errors.AsType[*echo.HTTPError](err); ok {
		switch wrong.Code {
		case http.StatusMethodNotAllowed:
			return problemf(codeMethodNotAllowed, "%s is not among the methods of this path: %s", shown(r.Method), x.Header().Get("Allow"))
		case http.StatusNotFound:
			return noSuchPath(r)
		}
	}
	return err
}

// fail answers with the problem that err is; or breaks the connection where part of
// another answer was sent, or nobody is there any more.
func (s *Server) fail(x *exchange, r *http.Request, err error) {
	x.err = err
	if x.status == 0 && r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		x.status = statusGone
	}
	if x.status != 0 {
		panic(http.ErrAbortHandler)
	}
	ProblemOf(err).write(x, r)
}

// Serve answers requests on a listener until ctx is over, and then ends in order: it
// tells balancers by readyz, goes on answering for Options.Drain, takes no more
// connections, lets requests finish for Options.Finish, and breaks what is left. What
// requests left to be done in the background is the registry's (Registry.Close).
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	listener = &connections{
		Listener: listener, most: s.options.MaxConnections, each: s.options.MaxConnectionsPerAddress,
		proxies: s.proxies, metrics: s.metrics, from: map[netip.Addr]int{},
	}
	if s.options.Certificate != nil {
		listener = tls.NewListener(listener, s.options.Certificate.TLS())
	}
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		// OPTIONS * is a request like others, and so refused by us.
		DisableGeneralOptionsHandler: true,
		BaseContext: func(net.Listener) context.Context {
			return forest.LimitProcessors(context.Background(), max(1, runtime.GOMAXPROCS(0)-1)) // one is left to all else
		},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	s.log.Info("stopping", "drain", max(0, s.options.Drain))
	drained := time.NewTimer(s.options.Drain)
	defer drained.Stop()
	<-drained.C
	s.endAll() // streams that would go on for ever
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Finish)
	defer cancel()
	err := server.Shutdown(finish)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests still under way after %v were broken off: %w", s.options.Finish, err), server.Close())
	}
	<-ended
	return err
}

// pingBucket asks the store for anything at all.
func (s *Server) pingBucket(ctx context.Context) error {
	_, err := s.registry.Bucket().List(ctx, oneKey)
	return err
}
