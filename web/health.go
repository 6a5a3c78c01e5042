package web

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"sync"
	"time"

	"modelbucket/blob"
)

// How long the store may take to answer a question after its health, and how long the
// answer counts.
const (
	pingTime  = time.Second
	pingCount = 2 * time.Second
)

var oneKey = blob.ListOptions{Limit: 1}

// health remembers whether the store answers. However many ask, it is asked once in
// pingCount.
type health struct {
	ping func(context.Context) error

	mu   sync.Mutex
	at   time.Time
	last error
}

func (h *health) check(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at.IsZero() || time.Since(h.at) >= pingCount {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTime)
		defer cancel()
		h.last = h.ping(ctx)
		h.at = time.Now()
	}
	return h.last
}

// healthz says that the process lives. It asks nothing of anybody.
func (s *Server) healthz(c *call) error { return c.text(http.StatusOK, "ok") }

// readyz says whether requests should be sent here, in one word: whether the store
// answers, or something loaded can go on scoring without it.
func (s *Server) readyz(c *call) error {
	if s.stopping.Load() {
		return c.unready("stopping")
	}
	err := s.health.check(c.r.Context())
	s.metrics.bucketUp(err == nil)
	if err != nil {
		c.w.err = fmt.Errorf("ask the store: %w", err)
		if s.pool.Stats().Detectors == 0 {
			return c.unready("unavailable")
		}
	}
	return c.text(http.StatusOK, "ready")
}

func (c *call) unready(word string) error {
	c.w.Header().Set("Retry-After", "1")
	return c.text(http.StatusServiceUnavailable, word)
}

func (c *call) text(status int, text string) error {
	writeBody(c.w, c.r, status, "text/plain; charset=utf-8", []byte(text+"\n"))
	return nil
}

//go:embed openapi.yaml
var contract []byte

// OpenAPI is the contract, as it is served.
func OpenAPI() []byte { return contract }

func (s *Server) openAPI(c *call) error {
	writeBody(c.w, c.r, http.StatusOK, "application/yaml", contract)
	return nil
}

func (s *Server) python(c *call) error {
	if len(s.options.Python) == 0 {
		return noSuchPath(c.r)
	}
	c.w.Header().Set("Content-Disposition", `attachment; filename="modelbucket.py"`)
	writeBody(c.w, c.r, http.StatusOK, "text/x-python; charset=utf-8", s.options.Python)
	return nil
}

const frontPage = `modelbucket: a registry of machine-learning models whose only state is a bucket.

/openapi.yaml     the contract of this API
/v1/models        the models that you may see
/modelbucket.py   the Python client, one file: curl -O it beside your code
/readyz           whether this node is ready
`

func (s *Server) front(c *call) error {
	writeBody(c.w, c.r, http.StatusOK, "text/plain; charset=utf-8", []byte(frontPage))
	return nil
}
