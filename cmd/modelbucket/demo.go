package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web"
	"modelbucket/web/client"
)

// demoEvents are 400 network connections, some of them out of the ordinary.
//
//go:embed demo/events.json
var demoEvents []byte

// demoQuestion is an event that the demo's detector finds strange.
const demoQuestion = `[{"bytes_transferred":98213000,"packet_count":907,"connection_duration":0.2}]`

// demoModel is where the demo's detector is.
type demoModel struct {
	Ref string `json:"ref"`
	Try string `json:"try"` // a command line; $MODELBUCKET_TOKEN holds the token
}

// The demo's two versions, so that there is something to compare and to go back to.
var demoTrainings = []client.Training{
	{Label: "first", Description: "as SecureNet trains"},
	{Label: "calibrated", Description: "fewer alarms, and cuts by the training scores",
		Parameters: map[string]string{"contamination": "0.02"}, ThreatLevels: "calibrated"},
}

// demo fills the tenant "demo", unless it was filled before. It calls a handler of its
// own, which asks for no token and listens nowhere.
func (n *node) demo(ctx context.Context, url string) (*demoModel, error) {
	server, err := web.New(web.Options{Registry: n.registry, Pool: n.pool, Resolver: n.resolver, Insecure: true})
	if err != nil {
		return nil, err
	}
	api, err := inProcess(server)
	if err != nil {
		return nil, err
	}
	for _, t := range demoTrainings {
		t.Tenant, t.Model, t.Key = "demo", "edge", "demo "+string(t.Label)
		t.Aliases = []registry.Alias{"champion"}
		_, err := api.Version(ctx, registry.Ref{Tenant: t.Tenant, Model: t.Model, Selector: registry.Selector{Label: t.Label}})
		if answered, ok := errors.AsType[*client.Error](err); ok && answered.ExitCode() == exitNotFound && answered.Code != "version_deleted" {
			_, err = api.Train(ctx, t, client.BytesOf(demoEvents, detector.JSON))
		} else if ok && answered.Code == "version_deleted" {
			err = nil // somebody wanted it away
		}
		if err != nil {
			return nil, fmt.Errorf("demo: %w", err)
		}
	}
	v, err := api.Version(ctx, registry.Ref{Tenant: "demo", Model: "edge"})
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return &demoModel{
		Ref: v.Ref().String(),
		Try: fmt.Sprintf(`curl -sS --fail-with-body -H "Authorization: Bearer $MODELBUCKET_TOKEN" -H "Content-Type: application/json" -d '%s' %s/v1/tenants/demo/models/edge/detect`, demoQuestion, url),
	}, nil
}
