package detector

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"modelbucket/registry"
)

// Result is what a detector says of one event.
type Result struct {
	Index int // of the event, in its body
	// Err is an ErrBadEvent for an event that cannot be scored; then Score and Level
	// mean nothing.
	Err      error
	Score    float64
	Level    Level
	Original []byte // the event as JSON, if that was asked for
	// Explanation says why the score is what it is, if that was asked for.
	Explanation *Explanation
}

// Explanation parts a score among the features: Base and all contributions add up to it,
// but for rounding. A contribution below 0 makes the event stranger. See
// forest.Explainer for the method.
type Explanation struct {
	// Base is the score of an event as ordinary as the training events are on average:
	// it is the same for all events of a version.
	Base          float64
	features      *features
	Contributions []float64 // of the features, in order
}

// appendJSON appends the explanation as a JSON object:
//
//	{"base":0.09,"contributions":{"bytes_transferred":-0.31,"packet_count":0.02}}
func (e *Explanation) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"base":`...)
	dst = strconv.AppendFloat(dst, e.Base, 'g', -1, 64)
	dst = append(dst, `,"contributions":{`...)
	for i, c := range e.Contributions {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, e.features.label(i)), ':')
		dst = strconv.AppendFloat(dst, c, 'g', -1, 64)
	}
	return append(dst, "}}"...)
}

// Anomaly tells whether the event is one.
func (r *Result) Anomaly() bool { return r.Err == nil && r.Score < 0 }

// AppendJSON appends the result as a JSON object:
//
//	{"index":0,"is_anomaly":false,"anomaly_score":0.0931,"threat_level":"low","original_data":{…}}
//	{"index":3,"error":{"code":"bad_event","detail":"…"},"original_data":{…}}
func (r *Result) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"index":`...)
	dst = strconv.AppendInt(dst, int64(r.Index), 10)
	if r.Err != nil {
		dst = append(dst, `,"error":{"code":"bad_event","detail":`...)
		dst = appendString(dst, strings.TrimPrefix(r.Err.Error(), ErrBadEvent.Error()+": "))
		dst = append(dst, '}')
	} else {
		dst = append(dst, `,"is_anomaly":`...)
		dst = strconv.AppendBool(dst, r.Anomaly())
		dst = append(dst, `,"anomaly_score":`...)
		dst = strconv.AppendFloat(dst, r.Score, 'g', -1, 64)
		dst = append(dst, `,"threat_level":"`...)
		dst = append(dst, r.Level...)
		dst = append(dst, '"')
	}
	if r.Explanation != nil {
		dst = append(dst, `,"explanation":`...)
		dst = r.Explanation.appendJSON(dst)
	}
	if r.Original != nil {
		dst = append(dst, `,"original_data":`...)
		dst = append(dst, r.Original...)
	}
	return append(dst, '}')
}

// Summary counts what was in a body.
type Summary struct {
	Events int `json:"events"` // the failed ones too
	Failed int `json:"failed"`
	// Missing counts, by feature, the scored events that lacked a value for it.
	Missing map[string]int  `json:"missing,omitempty"`
	Version registry.Number `json:"version"`
}

// AppendJSON appends the summary as a JSON object.
func (s *Summary) AppendJSON(dst []byte) []byte {
	dst = fmt.Appendf(dst, `{"events":%d,"failed":%d`, s.Events, s.Failed)
	for i, name := range slices.Sorted(maps.Keys(s.Missing)) {
		if i == 0 {
			dst = append(dst, `,"missing":{`...)
		} else {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		dst = strconv.AppendInt(dst, int64(s.Missing[name]), 10)
	}
	if len(s.Missing) > 0 {
		dst = append(dst, '}')
	}
	dst = append(dst, `,"version":`...)
	return append(strconv.AppendInt(dst, int64(s.Version), 10), '}')
}
