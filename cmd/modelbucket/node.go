package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lmittmann/tint"

	"modelbucket/blob"
	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web"
)

// node is the tree of objects that answers requests, from the bucket up.
type node struct {
	bucket   blob.Bucket
	registry *registry.Registry
	metrics  *web.Metrics
	pool     *detector.Pool
	resolver *detector.Resolver
	options  nodeOptions

	closeServer func() // of the handler, where there is one
}

type nodeOptions struct {
	create       bool // the default store, where there is none yet
	readOnly     bool
	maxUpload    int64 // bytes; 0: the registry's default
	cacheBytes   int64
	latestMaxAge time.Duration
	limits       registry.Limits // of tenants that have none of their own
	signatures   signatureFlags
	log          *slog.Logger
}

// closeTime is how long the end of a run may wait for what goes on behind it.
const closeTime = 30 * time.Second

// openNode builds the tree over the store. It is taken down when the run ends.
func (p *program) openNode(ctx context.Context, o nodeOptions) (*node, error) {
	n := &node{metrics: web.NewMetrics(), options: o, closeServer: func() {}}
	var err error
	n.bucket, err = p.openBucket(ctx, o.create, blob.Options{ReadOnly: o.readOnly, Observe: n.metrics.Call, Log: o.log})
	if err != nil {
		return nil, err
	}
	trust, err := readTrust(o.signatures.SignatureKeys)
	if err != nil {
		return nil, err
	}
	n.registry, err = registry.Open(ctx, n.bucket, registry.Options{
		ReadOnly: o.readOnly, MaxUpload: o.maxUpload, Limits: o.limits, Log: o.log, OnConflict: n.metrics.Conflict,
		RequireSignature: o.signatures.RequireSignature, Trust: trust,
	})
	if err != nil {
		return nil, err
	}
	n.pool = detector.NewPool(n.registry, detector.PoolOptions{Bytes: o.cacheBytes, Share: func(t registry.Tenant) int64 {
		return n.registry.KnownLimit(t, registry.LimitCachedBytes)
	}})
	n.resolver = detector.NewResolver(n.registry, detector.ResolverOptions{MaxAge: o.latestMaxAge})
	p.closers = append(p.closers, func() error {
		n.closeServer()
		n.resolver.Close()
		n.pool.Close()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		return n.registry.Close(ctx)
	})
	return n, nil
}

// server is the handler over the tree.
func (n *node) server(o web.Options) (*web.Server, error) {
	o.Registry, o.Pool, o.Resolver, o.Metrics = n.registry, n.pool, n.resolver, n.metrics
	o.MaxUpload, o.Log = n.options.maxUpload, n.options.log
	server, err := web.New(o)
	if err != nil {
		return nil, err
	}
	n.closeServer = server.Close
	return server, nil
}

// collectEvery runs the collector from time to time, each time at another moment, so
// that nodes started together do not collect together. The returned function ends it
// and waits for that.
func (n *node) collectEvery(ctx context.Context, interval time.Duration, readOnly bool) (stop func()) {
	if interval <= 0 || readOnly {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			next := time.NewTimer(interval/2 + rand.N(interval))
			select {
			case <-ctx.Done():
				next.Stop()
				return
			case <-next.C:
			}
			report, err := n.registry.Collect(ctx, registry.CollectOptions{})
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				n.options.log.Warn("collector ended early; the next pass goes on", "err", err)
			default:
				n.options.log.Info("collected", "objects", report.Objects, "bytes", report.Bytes, "versions", report.Versions, "uploads", report.Uploads, "aliases", report.Aliases)
			}
		}
	})
	return func() { cancel(); running.Wait() }
}

// logger writes for people on a terminal, and JSON elsewhere.
func (p *program) logger(level slog.Level) *slog.Logger {
	if _, ok := terminal(p.stderr); ok {
		return slog.New(tint.NewTextHandler(p.stderr, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: p.env("NO_COLOR") != ""}))
	}
	return slog.New(slog.NewJSONHandler(p.stderr, &slog.HandlerOptions{Level: level}))
}

// quiet is the log of a verb that brings its own handler along: it tells errors, which
// the handler's answers withhold, and nothing else.
func (p *program) quiet() *slog.Logger {
	return slog.New(&causes{p})
}

// causes prints the err of a record, and nothing else of it.
type causes struct{ p *program }

func (c *causes) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (c *causes) WithAttrs([]slog.Attr) slog.Handler               { return c }
func (c *causes) WithGroup(string) slog.Handler                    { return c }

func (c *causes) Handle(ctx context.Context, r slog.Record) error {
	if ctx.Err() != nil {
		return nil // whoever interrupts knows the cause
	}
	var err error
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			_, err = fmt.Fprintf(c.p.stderr, "cause: %s\n", plain(a.Value.String()))
		}
		return true
	})
	return err
}
