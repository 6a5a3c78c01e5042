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
	"strings"
	"time"

	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web/client"
)

type detectCommand struct {
	Ref     registry.Ref   `arg:"" placeholder:"REF" help:"Detector, for example acme/edge or acme/edge@champion."`
	Events  string         `arg:"" optional:"" default:"-" placeholder:"EVENTS" help:"File of events; - is standard input, which may go on for ever."`
	Format  string         `enum:"auto,json,ndjson,csv" default:"auto" help:"How the events are written: auto, json, ndjson or csv."`
	Only    string         `enum:"all,anomalies" default:"all" help:"Which events to show: all or anomalies."`
	Level   detector.Level `enum:"low,medium,high,critical" default:"low" help:"Show events of this threat level and above: low, medium, high or critical."`
	Include string         `enum:"nothing,original_data" default:"nothing" help:"original_data: with --json, each result has its event."`
	Strict  bool           `help:"End at the first event that cannot be scored."`
	Explain bool           `help:"Say which features drove each score."`
}

// Help is the longer text.
func (detectCommand) Help() string {
	return `Scores are scikit-learn's decision_function: lower is stranger, below 0 is an anomaly. Results come as events come:

tail -f events.ndjson | modelbucket detect acme/edge

--explain parts each score among the features: what is below 0 made the event stranger, and with the score of an ordinary event ("base" in --json) all parts add up to the score. The table shows the three largest.`
}

// shows tells whether a result is among those asked for. What could not be scored is.
func (c detectCommand) shows(r *client.Result) bool {
	rising := []detector.Level{detector.Low, detector.Medium, detector.High, detector.Critical}
	return r.Error != nil ||
		(c.Only == "all" || r.Anomaly) && slices.Index(rising, r.Level) >= slices.Index(rising, c.Level)
}

// Run scores events and prints results as they come.
func (c detectCommand) Run(ctx context.Context, p *program) error {
	body, format, err := p.openEvents(c.Events, c.Format)
	if err != nil {
		return err
	}
	defer body.Close()
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	ref, features, err := p.detectorOf(ctx, api, c.Ref)
	if err != nil {
		return err
	}
	out := &results{p: p, features: features, explain: c.Explain}
	o := client.DetectOptions{Original: out.table() || c.Include == "original_data", Strict: c.Strict, Explain: c.Explain}
	anomalies, began := 0, time.Now()
	summary, err := api.DetectStream(ctx, ref, client.ReaderOf(body, format), o, func(r *client.Result, line []byte) error {
		anomalies += count(r.Anomaly)
		if !c.shows(r) {
			return nil
		}
		return out.print(r, line)
	})
	if err != nil {
		return err
	}
	if err := out.end(summary); err != nil {
		return err
	}
	for _, name := range sortedKeys(summary.Missing) {
		p.say("%s was missing in %d events, and counted as 0", plain(name), summary.Missing[name])
	}
	p.say("%d of %d events anomalous (score below 0; lower is stranger) · version %d · %.1f ms",
		anomalies, summary.Events, summary.Version, milliseconds(time.Since(began)))
	if summary.Failed > 0 {
		return &mistake{text: fmt.Sprintf("%d of %d events could not be scored", summary.Failed, summary.Events), hint: "a feature must be a number, null or left out; --strict ends at the first event that has another", exit: exitFailed}
	}
	return nil
}

// detectorOf finds the version that ref means now, and the features of its detector. A
// scorer's key may not see them, and scores all the same, by ref as it is.
func (p *program) detectorOf(ctx context.Context, api *client.Client, ref registry.Ref) (registry.Ref, []string, error) {
	v, err := api.Version(ctx, ref)
	if answered, ok := errors.AsType[*client.Error](err); ok && answered.Code == "forbidden" {
		return ref, nil, nil
	}
	if err != nil {
		return ref, nil, p.suggest(ctx, api, ref, err)
	}
	var facts detectorFacts
	if len(v.Detector) > 0 {
		if err := json.Unmarshal(v.Detector, &facts); err != nil {
			return ref, nil, fmt.Errorf("detector of %s: %w", v.Ref(), err)
		}
	}
	return v.Ref(), facts.Features, nil
}

// results prints what a detector says, event by event, in the form that was asked for.
type results struct {
	p        *program
	features []string
	explain  bool
	widths   []int // on a terminal
	begun    bool
}

func (o *results) table() bool { return !o.p.JSON && !o.p.Quiet }

// print prints one result; line is what it came as.
func (o *results) print(r *client.Result, line []byte) error {
	switch {
	case o.p.JSON:
		_, err := fmt.Fprintf(o.p.stdout, "%s\n", line)
		return err
	case o.p.Quiet:
		_, err := fmt.Fprintln(o.p.stdout, r.Index)
		return err
	}
	if !o.begun {
		o.begun = true
		header := append([]string{"#", "SCORE", "LEVEL"}, o.features...)
		if o.explain {
			header = append(header, "WHY")
		}
		for _, name := range header {
			o.widths = append(o.widths, max(9, len(name)))
		}
		if err := o.row(header); err != nil {
			return err
		}
	}
	cells := []string{fmt.Sprint(r.Index), fmt.Sprintf("%.4f", r.Score), string(r.Level)}
	if r.Error != nil {
		cells = []string{fmt.Sprint(r.Index), dash, "error: " + r.Error.Detail}
		return o.row(cells)
	}
	var event map[string]json.RawMessage
	if err := json.Unmarshal(r.Original, &event); err != nil && len(r.Original) > 0 && r.Original[0] == '{' {
		return fmt.Errorf("event %d came back broken: %w", r.Index, err)
	}
	for _, name := range o.features {
		cells = append(cells, string(event[name]))
	}
	if r.Explanation != nil {
		cells = append(cells, why(r.Explanation))
	}
	return o.row(cells)
}

// why names the features that moved a score most.
func why(e *client.Explanation) string {
	const most = 3
	names := slices.Collect(maps.Keys(e.Contributions))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(math.Abs(e.Contributions[b]), math.Abs(e.Contributions[a])), cmp.Compare(a, b))
	})
	var parts []string
	for _, name := range names[:min(most, len(names))] {
		parts = append(parts, fmt.Sprintf("%s %+.3f", name, e.Contributions[name]))
	}
	return strings.Join(parts, ", ")
}

func (o *results) row(cells []string) error {
	for i, cell := range cells {
		cells[i] = plain(cell)
	}
	return o.p.row(cells, o.widths)
}

// end prints what comes last.
func (o *results) end(summary *detector.Summary) error {
	if !o.p.JSON {
		return nil
	}
	return o.p.printJSON(map[string]any{"summary": summary})
}
