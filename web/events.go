package web

import (
	"net/http"
	"strings"

	"modelbucket/detector"
)

// The limits of a body of events that is answered whole. Streams have none but those of
// each event.
const (
	maxEventBody = 32 << 20 // bytes
	maxEvents    = 100_000
)

const ndjson = "application/x-ndjson"

const eventTypes = "events as application/json, " + ndjson + " or text/csv"

// eventFormat is how a request's body holds its events.
func (c *call) eventFormat() (detector.Format, error) {
	sent := c.r.Header.Get("Content-Type")
	kind, _, err := mediaType(sent)
	if err != nil {
		return 0, err
	}
	switch kind {
	case "application/json":
		return detector.JSON, nil
	case ndjson, "application/ndjson", "application/jsonl":
		return detector.NDJSON, nil
	case "text/csv":
		return detector.CSV, nil
	}
	return 0, unsupported(sent, eventTypes)
}

// wantsLines tells whether the answer should be lines that come while events are read.
func (c *call) wantsLines(f detector.Format) bool {
	if f == detector.NDJSON {
		return true
	}
	for accepted := range strings.SplitSeq(c.r.Header.Get("Accept"), ",") {
		kind, _, _ := strings.Cut(accepted, ";")
		if strings.TrimSpace(kind) == ndjson {
			return true
		}
	}
	return false
}

// ready gets the detector of the version that the path names, loaded if need be. The
// caller calls release when it no longer uses it.
func (s *Server) ready(c *call) (m *scored, release func(), err error) {
	v, _, err := s.resolver.Resolve(c.r.Context(), c.ref())
	if err != nil {
		return nil, nil, err
	}
	d, release, err := s.pool.Get(c.r.Context(), v)
	if err != nil {
		return nil, nil, err
	}
	c.names(v)
	return &scored{v, d}, release, nil
}

func (s *Server) load(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	m, release, err := s.ready(c)
	if err != nil {
		return err
	}
	defer release()
	return c.json(http.StatusOK, m.info())
}

func (s *Server) unload(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	v, _, err := s.resolver.Resolve(c.r.Context(), c.ref())
	if err != nil {
		return err
	}
	c.names(v)
	dropped := s.pool.Unload(v)
	return c.json(http.StatusOK, struct {
		identity
		Unloaded bool `json:"unloaded"` // false: it was not loaded here
	}{identityOf(v), dropped})
}

// listDetectors tells what this node holds in memory, of the tenants that the caller
// may see.
func (s *Server) listDetectors(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	answer := struct {
		Detectors []detector.Loaded `json:"detectors"`
		Bytes     int64             `json:"bytes"` // of these: what others have is not his to know
		Budget    int64             `json:"budget"`
	}{[]detector.Loaded{}, 0, s.pool.Stats().Budget}
	for _, l := range s.pool.List() {
		if c.who.May(DetectorsRead, l.Tenant) {
			answer.Detectors = append(answer.Detectors, l)
			answer.Bytes += l.Bytes
		}
	}
	return c.json(http.StatusOK, answer)
}
