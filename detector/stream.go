package detector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"modelbucket/detector/forest"
)

// ScoreOptions say how a body is scored.
type ScoreOptions struct {
	// Original has each event come back with its result.
	Original bool
	// Strict makes the first bad event an error of the whole.
	Strict bool
	// Explain has each result say which features drove its score.
	Explain bool
}

// block is how many events are scored together, at most.
const block = 256

// ScoreEvents scores the events of a body and hands their results to emit, in order and
// some at a time; they are valid until emit returns. It waits for more of NDJSON or CSV
// only when all results are out. Memory does not grow with the body. An error ends it,
// after any number of results: the Reader's, emit's, ctx's, or an ErrBadEvent if Strict.
func (d *Detector) ScoreEvents(ctx context.Context, events *Reader, o ScoreOptions, emit func([]Result) error) (Summary, error) {
	s := &scoring{
		d: d, o: o, events: events, features: newFeatures(d.features, d.Width()),
		summary: Summary{Version: d.number},
	}
	if o.Explain {
		s.explain = d.compiled.Explainer()
	}
	for {
		err := s.fill(ctx)
		if len(s.results) > 0 {
			s.score()
			if err := emit(s.results); err != nil {
				return s.summary, err
			}
		}
		if err == io.EOF {
			return s.summary, nil
		}
		if err != nil {
			return s.summary, err
		}
	}
}

// scoring is a body being scored, a block of events at a time.
type scoring struct {
	d        *Detector
	o        ScoreOptions
	events   *Reader
	features *features
	summary  Summary

	results  []Result
	rows     []float64 // of the results without an error
	scores   []float64
	original []byte // of all results, one after another
	ends     []int  // … and where each ends

	explain      *forest.Explainer // nil if nobody asked
	explanations []Explanation     // of the results without an error
	moved        []float64         // of all explanations, one after another
}

// fill reads the next block. It returns before the block is full where more events
// would have to be waited for; with io.EOF after the body's last event.
func (s *scoring) fill(ctx context.Context) error {
	s.results, s.rows, s.original, s.ends = s.results[:0], s.rows[:0], s.original[:0], s.ends[:0]
	if err := ctx.Err(); err != nil {
		return err
	}
	for len(s.results) < block && len(s.original) < MaxEvent {
		if len(s.results) > 0 && !s.events.Ready() {
			return nil
		}
		e, err := s.events.Next()
		if err != nil {
			return err
		}
		if err := s.add(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *scoring) add(e *Event) error {
	width := s.d.Width()
	n := len(s.rows)
	s.rows = append(s.rows, make([]float64, width)...)
	err := s.features.read(e, s.rows[n:])
	if err != nil && (s.o.Strict || !errors.Is(err, ErrBadEvent)) {
		return fmt.Errorf("event %d: %w", e.Index, err)
	}
	s.summary.Events++
	if err != nil {
		s.summary.Failed++
		s.rows = s.rows[:n]
	} else {
		s.countMissing()
	}
	s.results = append(s.results, Result{Index: e.Index, Err: err})
	if s.o.Original {
		s.original = e.AppendJSON(s.original)
		s.ends = append(s.ends, len(s.original))
	}
	return nil
}

func (s *scoring) countMissing() {
	for i, filled := range s.features.filled {
		if !filled {
			if s.summary.Missing == nil {
				s.summary.Missing = map[string]int{}
			}
			s.summary.Missing[s.features.label(i)]++
		}
	}
}

func (s *scoring) score() {
	n := len(s.rows) / s.d.Width()
	s.scores = slices.Grow(s.scores[:0], n)[:n]
	s.d.Score(s.scores, s.rows)
	if s.explain != nil {
		s.explainAll(n)
	}
	scored, begin := 0, 0
	for i := range s.results {
		r := &s.results[i]
		if r.Err == nil {
			r.Score = s.scores[scored]
			r.Level = s.d.levels.Level(r.Score)
			if s.explain != nil {
				r.Explanation = &s.explanations[scored]
			}
			scored++
		}
		if s.o.Original {
			r.Original = s.original[begin:s.ends[i]:s.ends[i]]
			begin = s.ends[i]
		}
	}
}

// explainAll explains the scores of n rows.
func (s *scoring) explainAll(n int) {
	width, rows := s.d.Width(), s.d.prepared(s.rows)
	s.explanations = s.explanations[:0]
	s.moved = slices.Grow(s.moved[:0], n*width)[:n*width]
	for i := range n {
		moved := s.moved[i*width : (i+1)*width]
		s.explain.Explain(moved, rows[i*width:(i+1)*width])
		s.explanations = append(s.explanations, Explanation{s.explain.Base(), s.features, moved})
	}
}
