package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"modelbucket/detector"
	"modelbucket/registry"
)

// identity is what every answer of a detector begins with.
type identity struct {
	Tenant  registry.Tenant `json:"tenant"`
	Model   registry.Model  `json:"model"`
	Version registry.Number `json:"version"`
	ID      registry.ID     `json:"id"`
}

func identityOf(v *registry.Version) identity { return identity{v.Tenant, v.Model, v.Version, v.ID} }

// scored is a version with its detector.
type scored struct {
	version  *registry.Version
	detector *detector.Detector
}

// info says what was loaded.
func (m *scored) info() any {
	return struct {
		identity
		Label    *registry.Label       `json:"label"`
		Features []string              `json:"features"`
		Trees    int                   `json:"trees"`
		Levels   detector.ThreatLevels `json:"threat_levels"`
		Bytes    int64                 `json:"bytes"`
	}{identityOf(m.version), m.version.Label, m.detector.Features(), m.detector.Trees(), m.detector.Levels(), m.detector.Bytes()}
}

// detect judges events: a document is answered with a document, a stream with a stream.
func (s *Server) detect(c *call) error {
	q, err := c.query("include", "strict", "explain")
	if err != nil {
		return err
	}
	var o detector.ScoreOptions
	if o.Original, err = q.includes("original_data"); err != nil {
		return err
	}
	if o.Strict, err = q.flag("strict"); err != nil {
		return err
	}
	if o.Explain, err = q.flag("explain"); err != nil {
		return err
	}
	format, err := c.eventFormat()
	if err != nil {
		return err
	}
	lines := c.wantsLines(format)
	var held *holding
	switch {
	case lines:
		held, err = c.enter(s.works.events, streamWeight)
	case c.r.ContentLength > maxEventBody:
		err = tooManyEvents(tooLarge(maxEventBody))
	default:
		held, err = c.enterBody(s.works.events, answerFactor)
	}
	if err != nil {
		return err
	}
	defer held.leave()
	m, release, err := s.ready(c)
	if err != nil {
		return err
	}
	defer release()
	if lines {
		return s.detectStream(c, m, format, o)
	}
	return s.detectWhole(c, held, m, format, o)
}

// detectWhole answers once all events were read. Only then it is known that the body is
// in order, and so the answer may begin.
func (s *Server) detectWhole(c *call, held *holding, m *scored, f detector.Format, o detector.ScoreOptions) error {
	answer := s.answers.Get().(*[]byte)
	defer s.answers.Put(answer)
	out := append((*answer)[:0], `{`...)
	out = appendIdentity(out, m.version)
	turn := s.turn(c, true)
	defer turn.give()
	events := detector.NewReader(turn.body(c.heldBody(maxEventBody, held, answerFactor)), f)
	out, err := appendResults(c, held, out, m.detector, events, o)
	if err == nil {
		err = nothingBeside(events)
	}
	if err != nil {
		return err
	}
	out = append(out, "}\n"...)
	turn.give()
	writeBody(c.w, c.r, http.StatusOK, "application/json", out)
	if cap(out) <= keptAnswer {
		*answer = out
	}
	return nil
}

// nothingBeside refuses members that stand beside the events and mean nothing here.
func nothingBeside(events *detector.Reader) error {
	for _, name := range slices.Sorted(maps.Keys(events.Members())) { // the same answer to the same request
		return problemf(codeBadRequest, "the JSON has an unknown field %s beside the events", shown(name)).hint("what else there is to say stands in the query")
	}
	return nil
}

// keptAnswer bounds the buffers that are kept for the next answer, in bytes.
const keptAnswer = 1 << 20

func appendIdentity(dst []byte, v *registry.Version) []byte {
	// The names' grammars have nothing that JSON would escape.
	return fmt.Appendf(dst, `"tenant":"%s","model":"%s","version":%d,"id":"%s",`, v.Tenant, v.Model, v.Version, v.ID)
}

// appendResults appends `"results":[…]` and what was counted. The answer's memory is
// part of what is held.
func appendResults(c *call, held *holding, dst []byte, d *detector.Detector, events *detector.Reader, o detector.ScoreOptions) ([]byte, error) {
	dst = append(dst, `"results":[`...)
	summary, err := d.ScoreEvents(c.r.Context(), events, o, func(results []detector.Result) error {
		c.share.owe(len(results))
		for i := range results {
			if results[i].Index == maxEvents {
				return moreThanEvents()
			}
			if results[i].Index > 0 {
				dst = append(dst, ',')
			}
			dst = results[i].AppendJSON(dst)
		}
		return held.reach(int64(cap(dst)))
	})
	if err != nil {
		return nil, err
	}
	dst = fmt.Appendf(dst, `],"events":%d,"failed":%d`, summary.Events, summary.Failed)
	if len(summary.Missing) == 0 {
		return dst, nil
	}
	missing, err := json.Marshal(summary.Missing)
	return append(append(dst, `,"missing":`...), missing...), err
}

func tooManyEvents(p *Problem) *Problem {
	return p.hint("send them as %s: a stream is answered line by line and may be of any length", ndjson)
}

func moreThanEvents() *Problem {
	return tooManyEvents(problemf(codeTooLarge, "there are more than %d events", maxEvents))
}

// detectStream answers each event as it comes: a line for each, and a last line
// {"summary":…}, without which the stream was cut off. An error in its midst is a line
// {"error":…}, and then the connection breaks.
func (s *Server) detectStream(c *call, m *scored, f detector.Format, o detector.ScoreOptions) error {
	if err := c.w.control.EnableFullDuplex(); err != nil {
		return fmt.Errorf("answer while the body comes: %w", err)
	}
	stopped := context.AfterFunc(s.end, func() { c.w.control.SetReadDeadline(time.Unix(1, 0)) })
	defer stopped()
	body := c.body(-1)
	body.patient = true
	c.w.Header().Set("Content-Type", ndjson)
	turn := s.turn(c, false)
	defer turn.give()
	var lines []byte
	send := func() error {
		turn.give() // who is slow to take his answers holds nobody up
		if _, err := c.w.Write(lines); err != nil {
			return err
		}
		if err := c.w.control.Flush(); err != nil {
			return err
		}
		return turn.take()
	}
	events := detector.NewReader(turn.body(body), f)
	summary, err := m.detector.ScoreEvents(c.r.Context(), events, o, func(results []detector.Result) error {
		lines = lines[:0]
		for i := range results {
			lines = append(results[i].AppendJSON(lines), '\n')
		}
		if err := send(); err != nil {
			return err
		}
		turn.give()
		if err := c.pace(len(results)); err != nil {
			return err
		}
		return turn.take()
	})
	if err == nil {
		err = nothingBeside(events)
	}
	if err == nil {
		lines = append(lines[:0], `{"summary":`...)
		lines = append(summary.AppendJSON(lines), "}\n"...)
		return send()
	}
	if c.w.status == 0 {
		c.w.Header().Del("Content-Type")
		return err
	}
	p := *ProblemOf(err)
	p.Instance = c.w.id
	line, encodeErr := encodeJSON(map[string]*Problem{"error": &p})
	if encodeErr == nil {
		lines = line
		encodeErr = send()
	}
	return errors.Join(err, encodeErr)
}
