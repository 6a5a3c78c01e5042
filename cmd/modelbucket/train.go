package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web/client"
)

type trainCommand struct {
	Model    registry.Ref     `arg:"" placeholder:"[TENANT/]MODEL" help:"Model that gets the detector as a new version; it need not exist."`
	Events   string           `arg:"" placeholder:"EVENTS" help:"File of events; - is standard input."`
	Format   string           `enum:"auto,json,ndjson,csv" default:"auto" help:"How the events are written: auto, json, ndjson or csv."`
	Label    registry.Label   `placeholder:"LABEL" help:"Name for the version, given once and for good."`
	Alias    []registry.Alias `placeholder:"ALIAS" help:"Alias to move to the version; may be repeated."`
	Note     string           `placeholder:"TEXT" help:"Description."`
	Features []string         `placeholder:"NAME,…" help:"Columns to train on (default: bytes_transferred,packet_count,connection_duration)."`
	Levels   string           `placeholder:"CUTS" help:"Threat levels: default, calibrated (by the training scores), or an object: {\"high\":-0.1}."`

	Estimators    *int   `placeholder:"N" help:"Number of trees (default: 100)."`
	MaxSamples    string `placeholder:"N|SHARE|auto" help:"Rows that a tree is built of (default: auto, 256)."`
	MaxFeatures   string `placeholder:"N|SHARE" help:"Features that a tree is built of (default: 1.0, all)."`
	Contamination string `placeholder:"SHARE|auto" help:"Share of the rows that are taken for anomalies (default: 0.1)."`
	Bootstrap     bool   `help:"Draw rows with replacement."`
	RandomState   *int   `placeholder:"N" help:"Seed; the same seed makes the same trees as in scikit-learn (default: 42)."`
	ScikitLearn   string `name:"sklearn-version" placeholder:"VERSION" help:"Release of scikit-learn that is to open the artifact without a warning (default: the newest known)."`
	Key           string `placeholder:"KEY" help:"Idempotency key: repeated with the same key, it finds the version that it made before."`
}

// Run trains a detector on events and saves it.
func (c trainCommand) Run(ctx context.Context, p *program) error {
	if !c.Model.Selector.IsLatest() {
		return usage("give the version a name with --label", "%s names a version; its number is given when it is saved", c.Model)
	}
	events, err := c.open(p)
	if err != nil {
		return err
	}
	api, err := p.connect(ctx, toSave)
	if err != nil {
		return err
	}
	p.ifInterrupted(fmt.Sprintf("see whether it was saved: modelbucket list %s", c.Model))
	v, err := api.Train(ctx, client.Training{
		Tenant: c.Model.Tenant, Model: c.Model.Model, Label: c.Label, Aliases: c.Alias, Description: c.Note,
		Features: c.Features, Parameters: c.parameters(), ThreatLevels: c.Levels, SklearnVersion: c.ScikitLearn, Key: c.Key,
	}, events)
	if err != nil {
		return err
	}
	if err := p.published(ctx, api, v, c.Alias); err != nil || p.JSON || p.Quiet {
		return err
	}
	return p.tellTrained(v)
}

// open makes a body of the events: of a file one that can be sent again.
func (c trainCommand) open(p *program) (client.Events, error) {
	body, format, err := p.openEvents(c.Events, c.Format)
	if err != nil {
		return client.Events{}, err
	}
	if c.Events == "-" {
		return client.ReaderOf(body, format), nil
	}
	if err := body.Close(); err != nil {
		return client.Events{}, err
	}
	info, err := os.Stat(c.Events)
	if err != nil {
		return client.Events{}, err
	}
	return client.Events{Format: format, Size: info.Size(), Open: func() (io.ReadCloser, error) { return os.Open(c.Events) }}, nil
}

// parameters are those that were given, by scikit-learn's names.
func (c trainCommand) parameters() map[string]string {
	given := map[string]string{"max_samples": c.MaxSamples, "max_features": c.MaxFeatures, "contamination": c.Contamination}
	if c.Estimators != nil {
		given["n_estimators"] = strconv.Itoa(*c.Estimators)
	}
	if c.RandomState != nil {
		given["random_state"] = strconv.Itoa(*c.RandomState)
	}
	if c.Bootstrap {
		given["bootstrap"] = "true"
	}
	for name, value := range given {
		if value == "" {
			delete(given, name)
		}
	}
	return given
}

// tellTrained says what was trained on, and which threat levels can be reached.
func (p *program) tellTrained(v *registry.Version) error {
	var record detector.Record
	if err := json.Unmarshal(v.Detector, &record); err != nil {
		return fmt.Errorf("detector of %s: %w", v.Ref(), err)
	}
	if t := record.Training; t != nil {
		p.say("trained on %d events: %s", t.Samples, strings.Join(t.Features, ", "))
		if len(t.Absent) > 0 {
			p.say("left out, as no event has it: %s (--features names others)", strings.Join(t.Absent, ", "))
		}
		for _, name := range sortedKeys(t.Missing) {
			p.say("%s was missing in %d events, and counted as 0", plain(name), t.Missing[name])
		}
	}
	p.say("threat levels that it can give: %s (no score is below %.3f)", joinedInOrder(record.Reachable), record.Floor)
	return nil
}
