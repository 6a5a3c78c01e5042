package web

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"modelbucket/blob"
	"modelbucket/detector"
)

// Metrics counts what happens, for Prometheus. It is made before the things that
// report to it: the bucket (Call), the registry (Conflict), the server.
type Metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	inFlight  prometheus.Gauge
	calls     *prometheus.CounterVec
	callTimes *prometheus.HistogramVec
	conflicts prometheus.Counter
	up        prometheus.Gauge

	connections        prometheus.Gauge
	refusedConnections *prometheus.CounterVec
}

// NewMetrics makes a set of counters of its own.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelbucket_requests_total", Help: "Requests answered, by route and status; 499 is a caller who went away before the answer.",
		}, []string{"method", "route", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modelbucket_request_duration_seconds", Help: "Time from a request's header to the end of its answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600},
		}, []string{"method", "route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "modelbucket_requests_in_flight", Help: "Requests under way.",
		}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelbucket_bucket_calls_total", Help: "Calls of the store, by operation and outcome.",
		}, []string{"operation", "outcome"}),
		callTimes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modelbucket_bucket_call_duration_seconds", Help: "Time that calls of the store took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}, []string{"operation"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelbucket_publish_conflicts_total", Help: "Commits that lost their number to another publisher and went on to the next.",
		}),
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "modelbucket_bucket_up", Help: "1 while the store answers, 0 while it does not.",
		}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "modelbucket_connections", Help: "Connections that are open.",
		}),
		refusedConnections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelbucket_connections_refused_total", Help: "Connections closed at once, as there were too many: in all, or of one address.",
		}, []string{"limit"}),
	}
	m.up.Set(1) // it was opened
	m.registry.MustRegister(m.requests, m.durations, m.inFlight, m.calls, m.callTimes, m.conflicts, m.up, m.connections, m.refusedConnections,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Call counts a call of the store: give it to blob.Observe.
func (m *Metrics) Call(c blob.Call) {
	m.calls.WithLabelValues(c.Operation, c.Outcome).Inc()
	m.callTimes.WithLabelValues(c.Operation).Observe(c.Duration.Seconds())
}

// observe shows what a pool of detectors holds and did.
func (m *Metrics) observe(p *detector.Pool) {
	for _, figure := range []struct {
		name, help string
		value      func(detector.PoolStats) int64
	}{
		{"hits_total", "Requests that found their detector loaded.", func(s detector.PoolStats) int64 { return s.Hits }},
		{"shared_loads_total", "Requests that waited for a load that another had begun.", func(s detector.PoolStats) int64 { return s.Shared }},
		{"loads_total", "Loads of detectors.", func(s detector.PoolStats) int64 { return s.Loads }},
		{"load_failures_total", "Loads that ended in an error.", func(s detector.PoolStats) int64 { return s.Failures }},
		{"evictions_total", "Detectors dropped to make room for others.", func(s detector.PoolStats) int64 { return s.Evictions }},
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "modelbucket_pool_" + figure.name, Help: figure.help},
			func() float64 { return float64(figure.value(p.Stats())) }))
	}
	for _, figure := range []struct {
		name, help string
		value      func(detector.PoolStats) int64
	}{
		{"detectors", "Detectors in memory.", func(s detector.PoolStats) int64 { return int64(s.Detectors) }},
		{"in_use", "Detectors that somebody uses just now.", func(s detector.PoolStats) int64 { return int64(s.InUse) }},
		{"bytes", "Bytes of the detectors in memory.", func(s detector.PoolStats) int64 { return s.Bytes }},
		{"budget_bytes", "Bytes that the detectors in memory may have.", func(s detector.PoolStats) int64 { return s.Budget }},
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "modelbucket_pool_" + figure.name, Help: figure.help},
			func() float64 { return float64(figure.value(p.Stats())) }))
	}
}

// Conflict counts a lost commit: give it to registry.Options.
func (m *Metrics) Conflict() { m.conflicts.Inc() }

func (m *Metrics) bucketUp(up bool) {
	if up {
		m.up.Set(1)
	} else {
		m.up.Set(0)
	}
}

// answered counts a request. Methods that no route has count as one, so that callers
// cannot make up labels.
func (m *Metrics) answered(x *exchange, method string) {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
	default:
		method = "other"
	}
	route := x.route
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(x.status)).Inc()
	m.durations.WithLabelValues(method, route).Observe(time.Since(x.began).Seconds())
}

// showMetrics answers in the text format that the caller asks for.
func (s *Server) showMetrics(c *call) error {
	err := s.health.check(c.r.Context())
	s.metrics.bucketUp(err == nil)
	promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(c.w, c.r)
	return nil
}
