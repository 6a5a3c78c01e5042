package main

import (
	"context"
	"fmt"

	"modelbucket/registry"
	"modelbucket/web/client"
)

type loadCommand struct {
	Refs []registry.Ref `arg:"" optional:"" placeholder:"REF…" help:"Detectors to load."`
	List bool           `help:"List what the node has in memory."`
	Drop bool           `help:"Drop them from memory instead."`
}

// Run warms a node, or looks into its memory. Nobody needs to: the first request loads.
func (c loadCommand) Run(ctx context.Context, p *program) error {
	if p.Server == "" || p.given("store") {
		return usage("name it with --server", "load is about a node's memory, and there is no node")
	}
	if c.List == (len(c.Refs) > 0) || c.List && c.Drop {
		return usage("for example: modelbucket load acme/edge@champion", "name detectors, or say --list")
	}
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	if c.List {
		return c.list(ctx, p, api)
	}
	for _, ref := range c.Refs {
		if err := c.one(ctx, p, api, ref); err != nil {
			return p.suggest(ctx, api, ref, err)
		}
	}
	return nil
}

func (c loadCommand) one(ctx context.Context, p *program, api *client.Client, ref registry.Ref) error {
	if c.Drop {
		dropped, err := api.Unload(ctx, ref)
		if err != nil {
			return err
		}
		if p.JSON {
			return p.printJSON(map[string]any{"ref": ref.String(), "unloaded": dropped})
		}
		state := "dropped"
		if !dropped {
			state = "was not loaded"
		}
		_, err = fmt.Fprintf(p.stdout, "%s  %s\n", ref, state)
		return err
	}
	l, err := api.Load(ctx, ref)
	if err != nil {
		return err
	}
	if p.JSON {
		return p.printJSON(l)
	}
	pinned := registry.Ref{Tenant: l.Tenant, Model: l.Model, Selector: registry.Selector{Number: l.Version}}
	if p.Quiet {
		_, err = fmt.Fprintln(p.stdout, pinned)
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s  %d trees × %d features  %s in memory\n", pinned, l.Trees, len(l.Features), p.size(l.Bytes))
	return err
}

func (c loadCommand) list(ctx context.Context, p *program, api *client.Client) error {
	memory, err := api.Detectors(ctx)
	if err != nil {
		return err
	}
	if p.JSON {
		return p.printJSON(memory)
	}
	t := table{header: []string{"VERSION", "BYTES", "IN USE", "LOADED", "USED"}}
	for _, l := range memory.Detectors {
		ref := registry.Ref{Tenant: l.Tenant, Model: l.Model, Selector: registry.Selector{Number: l.Version}}
		t.add(ref.String(), p.size(l.Bytes), fmt.Sprint(l.InUse), p.when(l.LoadedAt), p.when(l.UsedAt))
	}
	if err := p.result(memory.Detectors, "detectors", false, t, 0); err != nil {
		return err
	}
	p.say("%s of %s in use", shortSize(memory.Bytes), shortSize(memory.Budget))
	return nil
}
