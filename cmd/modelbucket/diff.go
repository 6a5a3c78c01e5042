package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web/client"
)

type diffCommand struct {
	From   registry.Ref `arg:"" placeholder:"REF" help:"One version."`
	To     registry.Ref `arg:"" placeholder:"REF" help:"The other one."`
	Events string       `placeholder:"FILE" help:"Events (JSON, NDJSON or CSV) to score with both."`
	Top    int          `default:"10" help:"How many of the events whose score changed most to show."`
}

// difference is what two versions do not have in common.
type difference struct {
	From   string         `json:"from"`
	To     string         `json:"to"`
	Fields []changedField `json:"fields"`
	Scores *scoreChange   `json:"scores,omitempty"`
}

type changedField struct {
	Field string `json:"field"`
	From  string `json:"from"`
	To    string `json:"to"`
}

// scoreChange compares the scores of the same events.
type scoreChange struct {
	Events    int            `json:"events"`
	Anomalies [2]int         `json:"anomalies"`
	Levels    int            `json:"level_changes"`
	Largest   []changedScore `json:"largest"`
}

type changedScore struct {
	Index     int            `json:"index"`
	From      float64        `json:"from"`
	To        float64        `json:"to"`
	FromLevel detector.Level `json:"from_level"`
	ToLevel   detector.Level `json:"to_level"`
}

// Run compares two versions: what is known of them, and how they judge.
func (c diffCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	d := difference{Fields: []changedField{}}
	var sides [2]map[string]string
	refs := [2]registry.Ref{c.From, c.To}
	for i, ref := range refs {
		v, err := api.Version(ctx, ref)
		if err != nil {
			return p.suggest(ctx, api, ref, err)
		}
		refs[i] = v.Ref()
		if sides[i], err = fieldsOf(v); err != nil {
			return err
		}
	}
	d.From, d.To = refs[0].String(), refs[1].String()
	names := slices.Sorted(maps.Keys(sides[0]))
	names = append(names, slices.Sorted(maps.Keys(sides[1]))...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if a, b := sides[0][name], sides[1][name]; a != b {
			d.Fields = append(d.Fields, changedField{name, a, b})
		}
	}
	if c.Events != "" {
		if d.Scores, err = c.scores(ctx, p, api, refs); err != nil {
			return err
		}
	}
	return c.show(p, d)
}

// fieldsOf are the leaves of a version's JSON, each file by its name.
func fieldsOf(v *registry.Version) (map[string]string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("compare %s: %w", v.Ref(), err)
	}
	fields := map[string]string{}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, fmt.Errorf("compare %s: %w", v.Ref(), err)
	}
	delete(top, "files")
	for name, value := range top {
		flatten(fields, name, value)
	}
	for _, f := range v.Files {
		fields["file "+string(f.Name)] = fmt.Sprintf("%d bytes, sha256:%s", f.Size, f.SHA256)
	}
	return fields, nil
}

// scores judges the same events with both versions.
func (c diffCommand) scores(ctx context.Context, p *program, api *client.Client, refs [2]registry.Ref) (*scoreChange, error) {
	var sides [2][]client.Result
	for i, ref := range refs {
		body, format, err := p.openEvents(c.Events, "auto")
		if err != nil {
			return nil, err
		}
		_, err = api.DetectStream(ctx, ref, client.ReaderOf(body, format), client.DetectOptions{}, func(r *client.Result, _ []byte) error {
			sides[i] = append(sides[i], *r)
			return nil
		})
		if err = errors.Join(err, body.Close()); err != nil {
			return nil, err
		}
	}
	if len(sides[0]) != len(sides[1]) {
		return nil, fmt.Errorf("%s changed while it was read", c.Events)
	}
	s := &scoreChange{Events: len(sides[0]), Largest: []changedScore{}}
	for i, a := range sides[0] {
		b := sides[1][i]
		if a.Error != nil || b.Error != nil {
			continue
		}
		s.Anomalies[0] += count(a.Anomaly)
		s.Anomalies[1] += count(b.Anomaly)
		s.Levels += count(a.Level != b.Level)
		s.Largest = append(s.Largest, changedScore{a.Index, a.Score, b.Score, a.Level, b.Level})
	}
	slices.SortStableFunc(s.Largest, func(x, y changedScore) int {
		return -cmp.Compare(math.Abs(x.To-x.From), math.Abs(y.To-y.From))
	})
	s.Largest = s.Largest[:min(len(s.Largest), max(0, c.Top))]
	return s, nil
}

func (c diffCommand) show(p *program, d difference) error {
	if p.JSON {
		return p.printJSON(d)
	}
	t := table{header: []string{"FIELD", d.From, d.To}}
	for _, f := range d.Fields {
		t.add(f.Field, orDash(f.From), orDash(f.To))
	}
	if err := p.print(t); err != nil || d.Scores == nil {
		return err
	}
	if _, err := fmt.Fprintln(p.stdout); err != nil {
		return err
	}
	scores := table{header: []string{"EVENT", "SCORE IN " + d.From, "SCORE IN " + d.To, "CHANGE", "LEVELS"}}
	for _, s := range d.Scores.Largest {
		levels := string(s.FromLevel)
		if s.FromLevel != s.ToLevel {
			levels += " → " + string(s.ToLevel)
		}
		scores.add(fmt.Sprint(s.Index), fmt.Sprintf("%.4f", s.From), fmt.Sprintf("%.4f", s.To), fmt.Sprintf("%+.4f", s.To-s.From), levels)
	}
	if err := p.print(scores); err != nil {
		return err
	}
	p.say("%d events: %d and %d anomalous, %d with another level (lower is stranger, below 0 is an anomaly)",
		d.Scores.Events, d.Scores.Anomalies[0], d.Scores.Anomalies[1], d.Scores.Levels)
	return nil
}
