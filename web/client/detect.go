package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"

	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web"
)

// Events is a body of events.
type Events struct {
	Format detector.Format
	// Size in bytes, or -1 where it is unknown.
	Size int64
	// Open opens the body, anew for each try, unless Once says that it cannot.
	Open func() (io.ReadCloser, error)
	Once bool
}

// BytesOf are events that are in memory.
func BytesOf(data []byte, f detector.Format) Events {
	return Events{Format: f, Size: int64(len(data)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
}

// ReaderOf are events that come from r, once.
func ReaderOf(r io.Reader, f detector.Format) Events {
	return Events{Format: f, Size: -1, Once: true, Open: func() (io.ReadCloser, error) { return io.NopCloser(r), nil }}
}

const ndjson = "application/x-ndjson"

// withEvents makes the events the request's body.
func (r *request) withEvents(e Events) *request {
	r.body, r.length, r.once = e.Open, e.Size, e.Once
	switch e.Format {
	case detector.NDJSON:
		return r.set("Content-Type", ndjson)
	case detector.CSV:
		return r.set("Content-Type", "text/csv")
	}
	return r.set("Content-Type", "application/json")
}

// Training says what to train, and what to save it as. All but Tenant and Model may be
// left out; Key is as in Publication.
type Training struct {
	Tenant      registry.Tenant
	Model       registry.Model
	Label       registry.Label
	Aliases     []registry.Alias
	Description string
	Features    []string
	// Parameters of the forest, by scikit-learn's names: {"n_estimators":"100"}.
	Parameters map[string]string
	// ThreatLevels is "default", "calibrated", or cuts as a JSON object.
	ThreatLevels   string
	SklearnVersion string
	Key            string
}

// Train makes a detector of events, and a version of the detector.
func (c *Client) Train(ctx context.Context, t Training, events Events) (*registry.Version, error) {
	q := url.Values{}
	for name, value := range map[string]string{
		"label": string(t.Label), "description": t.Description, "threat_levels": t.ThreatLevels, "sklearn_version": t.SklearnVersion,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, a := range t.Aliases {
		q.Add("alias", string(a))
	}
	for _, f := range t.Features {
		q.Add("features", f)
	}
	for name, value := range t.Parameters {
		q.Set(name, value)
	}
	r := (&request{method: "POST", path: modelPath(t.Tenant, t.Model, "train"), query: q, repeatable: true}).withEvents(events)
	v := new(registry.Version)
	return v, c.fetch(ctx, r.set("Idempotency-Key", keyOr(t.Key)), v)
}

// Result is what a detector says of one event.
type Result struct {
	Index    int             `json:"index"`
	Anomaly  bool            `json:"is_anomaly"`
	Score    float64         `json:"anomaly_score"` // below 0 is an anomaly; lower is stranger
	Level    detector.Level  `json:"threat_level"`
	Original json.RawMessage `json:"original_data"`
	// Explanation is there if that was asked for.
	Explanation *Explanation `json:"explanation"`
	// Error tells why the event could not be scored; then the rest means nothing.
	Error *EventError `json:"error"`
}

// Explanation parts a score among the features: Base and all contributions add up to it.
// A contribution below 0 makes the event stranger.
type Explanation struct {
	Base          float64            `json:"base"` // the score of an ordinary event
	Contributions map[string]float64 `json:"contributions"`
}

// EventError is why one event could not be scored.
type EventError struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Detection is the answer to a body of events that was answered whole.
type Detection struct {
	Tenant  registry.Tenant `json:"tenant"`
	Model   registry.Model  `json:"model"`
	Version registry.Number `json:"version"`
	ID      registry.ID     `json:"id"`
	Results []Result        `json:"results"`
	Events  int             `json:"events"`
	Failed  int             `json:"failed"`
	Missing map[string]int  `json:"missing"`
}

// DetectOptions say how events are judged.
type DetectOptions struct {
	Original bool // give each event back with its result
	Strict   bool // the first bad event is an error of the whole
	Explain  bool // tell which features drove each score
}

func (o DetectOptions) query() url.Values {
	q := url.Values{}
	if o.Original {
		q.Set("include", "original_data")
	}
	if o.Strict {
		q.Set("strict", "1")
	}
	if o.Explain {
		q.Set("explain", "1")
	}
	return q
}

// Detect judges events that are not too many: the server bounds what it answers whole.
func (c *Client) Detect(ctx context.Context, ref registry.Ref, events Events, o DetectOptions) (*Detection, error) {
	r := (&request{method: "POST", path: refPath(ref, "detect"), query: o.query(), repeatable: true}).withEvents(events)
	r.set("Accept", "application/json")
	d := new(Detection)
	return d, c.fetch(ctx, r, d)
}

// DetectStream judges events as they come, however many: each is told of as soon as the
// server has answered it, in order, while events behind it may still be on their way.
// line is the answer as it came, without its end, and valid until each returns. An
// error, each's own too, ends the stream; the summary counts what was answered, and is
// nil where the stream was cut off.
func (c *Client) DetectStream(ctx context.Context, ref registry.Ref, events Events, o DetectOptions, each func(r *Result, line []byte) error) (*detector.Summary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := (&request{method: "POST", path: refPath(ref, "detect"), query: o.query()}).withEvents(events)
	answer, err := c.send(ctx, r.set("Accept", ndjson))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	summary, err := readStream(bufio.NewReaderSize(answer.Body, 64<<10), each)
	if errors.Is(err, errLine) {
		err = r.blame(err)
	}
	return summary, err
}

// errLine: the line, or the peer, failed and not the caller.
var errLine = errors.New("the answers broke off")

func readStream(in *bufio.Reader, each func(*Result, []byte) error) (*detector.Summary, error) {
	for {
		line, err := in.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			head := bytes.Clone(line)
			line, err = in.ReadBytes('\n')
			line = append(head, line...)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errLine, cutOff(err))
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		var r struct {
			Index *int `json:"index"`
			Result
			Error   json.RawMessage   `json:"error"`
			Summary *detector.Summary `json:"summary"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%w: %.100q is no answer", errLine, line)
		}
		switch {
		case r.Summary != nil:
			return r.Summary, nil
		case r.Index == nil:
			e := &Error{web.Problem{Title: "Stream ended", Code: "internal"}}
			if err := json.Unmarshal(r.Error, &e.Problem); err != nil {
				return nil, fmt.Errorf("%w: %.100q is no answer", errLine, line)
			}
			return nil, fmt.Errorf("%w: %w", errLine, e)
		case r.Error != nil:
			if err := json.Unmarshal(r.Error, &r.Result.Error); err != nil {
				return nil, fmt.Errorf("%w: %.100q is no answer", errLine, line)
			}
		}
		r.Result.Index = *r.Index
		if err := each(&r.Result, line); err != nil {
			return nil, err
		}
	}
}

// cutOff is the error of a stream without its summary.
func cutOff(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Loaded is a detector that a node got ready.
type Loaded struct {
	Tenant   registry.Tenant       `json:"tenant"`
	Model    registry.Model        `json:"model"`
	Version  registry.Number       `json:"version"`
	ID       registry.ID           `json:"id"`
	Label    *registry.Label       `json:"label"`
	Features []string              `json:"features"`
	Trees    int                   `json:"trees"`
	Levels   detector.ThreatLevels `json:"threat_levels"`
	Bytes    int64                 `json:"bytes"`
}

// Load gets a detector ready on the node that answers.
func (c *Client) Load(ctx context.Context, ref registry.Ref) (*Loaded, error) {
	l := new(Loaded)
	return l, c.fetch(ctx, &request{method: "POST", path: refPath(ref, "load"), repeatable: true}, l)
}

// Unload drops a detector from the memory of the node that answers, and tells whether
// it was there.
func (c *Client) Unload(ctx context.Context, ref registry.Ref) (bool, error) {
	var answer struct {
		Unloaded bool `json:"unloaded"`
	}
	err := c.fetch(ctx, &request{method: "POST", path: refPath(ref, "unload"), repeatable: true}, &answer)
	return answer.Unloaded, err
}

// Memory is what a node holds in memory.
type Memory struct {
	Detectors []detector.Loaded `json:"detectors"`
	Bytes     int64             `json:"bytes"`
	Budget    int64             `json:"budget"`
}

// Detectors tells what the node that answers holds in memory.
func (c *Client) Detectors(ctx context.Context) (*Memory, error) {
	m := new(Memory)
	return m, c.fetch(ctx, &request{method: "GET", path: "/v1/detectors", repeatable: true}, m)
}
