package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"modelbucket/blob"
)

type doctorCommand struct {
	CreateBucket bool `help:"Make the bucket first, where it is missing."`
	Calls        int  `default:"20" help:"How many calls of each kind to time."`
}

// Help is the longer text.
func (doctorCommand) Help() string {
	return `Asks whether the store keeps its word (create-once, compare-and-swap, order of listings, read after write), whether these credentials have the rights that a node needs, and how quick it is. It writes below _system/probe/ and takes that away again. With --server it asks a node whether it is ready.`
}

// examined is what the doctor found.
type examined struct {
	Store  string      `json:"store"`
	OK     bool        `json:"ok"`
	Checks []finding   `json:"checks"`
	Calls  []callTimes `json:"calls"`
}

type finding struct {
	Name     string  `json:"name"`
	Outcome  string  `json:"outcome"` // kept, broken, failed
	Detail   string  `json:"detail,omitempty"`
	Duration float64 `json:"duration_ms"`
}

// callTimes are the durations of one kind of call, in milliseconds.
type callTimes struct {
	Operation string  `json:"operation"`
	Median    float64 `json:"median_ms"`
	Slowest   float64 `json:"slowest_ms"`
}

// Run examines the store, or asks a node how it is.
func (c doctorCommand) Run(ctx context.Context, p *program) error {
	if p.given("server") || p.Server != "" && p.Store == "" {
		return p.askNode(ctx)
	}
	if c.Calls < 1 {
		return usage("for example --calls 20", "--calls is %d", c.Calls)
	}
	if c.CreateBucket {
		if err := blob.CreateBucket(ctx, p.Store); err != nil {
			return err
		}
	}
	bucket, err := p.openBucket(ctx, true, blob.Options{})
	if errors.Is(err, blob.ErrBroken) || errors.Is(err, blob.ErrDenied) {
		// Opened to read it is not refused, so it can be said what is wrong.
		bucket, err = p.openBucket(ctx, true, blob.Options{ReadOnly: true})
	}
	if err != nil {
		return err
	}
	report, probeErr := blob.Probe(ctx, bucket)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := examined{Store: report.Store, OK: probeErr == nil, Checks: []finding{}, Calls: []callTimes{}}
	for _, check := range report.Checks {
		e.Checks = append(e.Checks, finding{check.Name, check.Outcome, check.Detail, milliseconds(check.Duration)})
	}
	if probeErr == nil {
		if e.Calls, err = timeCalls(ctx, bucket, c.Calls); err != nil {
			return err
		}
	}
	if err := p.tellExamined(e); err != nil {
		return err
	}
	switch {
	case errors.Is(probeErr, blob.ErrBroken):
		return &mistake{text: "this store does not keep its word: saves could be lost or collide on it", hint: "the README lists stores that do, under Stores", exit: exitFailed}
	case errors.Is(probeErr, blob.ErrDenied):
		return &mistake{text: "these credentials lack a right: " + probeErr.Error(), hint: "deploy/iam/read-write.json names the rights that a node needs; --read-only nodes get by with read-only.json", exit: exitFailed}
	}
	return probeErr
}

func (p *program) tellExamined(e examined) error {
	if p.JSON {
		return p.printJSON(e)
	}
	if p.Quiet {
		return nil
	}
	checks := table{header: []string{"CHECK", "OUTCOME", "MS", "DETAIL"}}
	for _, f := range e.Checks {
		checks.add(f.Name, f.Outcome, fmt.Sprintf("%.1f", f.Duration), f.Detail)
	}
	if err := p.print(checks); err != nil || len(e.Calls) == 0 {
		return err
	}
	if _, err := fmt.Fprintln(p.stdout); err != nil {
		return err
	}
	calls := table{header: []string{"CALL", "MEDIAN MS", "SLOWEST MS"}}
	for _, t := range e.Calls {
		calls.add(t.Operation, fmt.Sprintf("%.2f", t.Median), fmt.Sprintf("%.2f", t.Slowest))
	}
	return p.print(calls)
}

// askNode asks the node that --server names.
func (p *program) askNode(ctx context.Context) error {
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := api.Ready(ctx); err != nil {
		return err
	}
	took := milliseconds(time.Since(began))
	switch {
	case p.JSON:
		return p.printJSON(map[string]any{"server": p.Server, "ok": true, "duration_ms": took})
	case p.Quiet:
		return nil
	}
	_, err = fmt.Fprintf(p.stdout, "ready  %s  %.1f ms\n", p.Server, took)
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
