package main

import (
	"context"
	"fmt"

	"modelbucket/registry"
	"modelbucket/web/client"
)

type aliasCommand struct {
	Set     aliasSetCommand     `cmd:"" help:"Point an alias at a version."`
	Back    aliasBackCommand    `cmd:"" help:"Point an alias at the version that it named before."`
	History aliasHistoryCommand `cmd:"" help:"Show who moved an alias, when, where to and why."`
	Delete  aliasDeleteCommand  `cmd:"" help:"Remove an alias."`
}

type aliasSetCommand struct {
	Ref    registry.Ref     `arg:"" placeholder:"REF" help:"Version that it is to name, for example acme/fraud:7."`
	Name   registry.Alias   `arg:"" placeholder:"ALIAS" help:"The alias, for example champion."`
	Expect *registry.Number `placeholder:"N" help:"Only if it names version N now; 0: only if there is no such alias."`
	Note   string           `placeholder:"TEXT" help:"Why; it stays in the history."`
}

// Run moves an alias, and says where from.
func (c aliasSetCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toChange)
	if err != nil {
		return err
	}
	v, err := api.Version(ctx, c.Ref)
	if err != nil {
		return p.suggest(ctx, api, c.Ref, err)
	}
	return p.moveAlias(ctx, api, c.Ref, c.Name, registry.AliasChange{To: v.Version, IfVersion: c.Expect, Note: c.Note})
}

func (p *program) moveAlias(ctx context.Context, api *client.Client, ref registry.Ref, name registry.Alias, change registry.AliasChange) error {
	p.ifInterrupted(fmt.Sprintf("see where it stands: modelbucket alias history %s/%s %s", ref.Tenant, ref.Model, name))
	a, err := api.SetAlias(ctx, ref.Tenant, ref.Model, name, change)
	if err != nil {
		return err
	}
	if p.JSON {
		return p.printJSON(a)
	}
	if p.Quiet {
		_, err := fmt.Fprintln(p.stdout, a.Version)
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s: %s → %d\n", a.Alias, formerly(a), a.Version)
	return err
}

// formerly is the version that an alias named before.
func formerly(a *registry.AliasInfo) string {
	if len(a.History) == 0 || a.History[0].Version == nil {
		return dash
	}
	return a.History[0].Version.String()
}

type aliasBackCommand struct {
	Model registry.Ref   `arg:"" placeholder:"[TENANT/]MODEL" help:"The model."`
	Name  registry.Alias `arg:"" placeholder:"ALIAS" help:"The alias."`
	Note  string         `placeholder:"TEXT" help:"Why; it stays in the history."`
}

// Run moves an alias to the version before, unless somebody moved it meanwhile.
func (c aliasBackCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toChange)
	if err != nil {
		return err
	}
	a, err := api.Alias(ctx, c.Model.Tenant, c.Model.Model, c.Name)
	if err != nil {
		return p.suggest(ctx, api, c.Model, err)
	}
	for _, before := range a.History {
		if before.Version != nil && *before.Version != a.Version {
			return p.moveAlias(ctx, api, c.Model, c.Name, registry.AliasChange{To: *before.Version, IfRevision: &a.Revision, Note: c.Note})
		}
	}
	return &mistake{text: fmt.Sprintf("%s has named no other version than %d", c.Name, a.Version), hint: "choose one with: modelbucket alias set", exit: exitFailed}
}

type aliasHistoryCommand struct {
	Model registry.Ref   `arg:"" placeholder:"[TENANT/]MODEL" help:"The model."`
	Name  registry.Alias `arg:"" optional:"" placeholder:"ALIAS" help:"The alias; without, all of the model."`
}

// Run shows the history of one alias, or of all of a model.
func (c aliasHistoryCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	var aliases []*registry.AliasInfo
	if c.Name == "" {
		aliases, err = api.Aliases(ctx, c.Model.Tenant, c.Model.Model)
	} else {
		aliases = make([]*registry.AliasInfo, 1)
		aliases[0], err = api.Alias(ctx, c.Model.Tenant, c.Model.Model, c.Name)
	}
	if err != nil {
		return p.suggest(ctx, api, c.Model, err)
	}
	t := table{header: []string{"ALIAS", "REVISION", "VERSION", "SINCE", "BY", "NOTE"}}
	for _, a := range aliases {
		t.add(string(a.Alias), fmt.Sprint(a.Revision), a.Version.String(), p.when(a.ChangedAt), a.ChangedBy, a.Note)
		for _, h := range a.History {
			version := "(removed)"
			if h.Version != nil {
				version = h.Version.String()
			}
			t.add(string(a.Alias), fmt.Sprint(h.Revision), version, p.when(h.At), h.By, h.Note)
		}
	}
	if p.Quiet {
		t.rows = nil
		for _, a := range aliases {
			t.add(string(a.Alias))
		}
	}
	return p.result(aliases, "aliases", false, t, 0)
}

type aliasDeleteCommand struct {
	Model  registry.Ref     `arg:"" placeholder:"[TENANT/]MODEL" help:"The model."`
	Name   registry.Alias   `arg:"" placeholder:"ALIAS" help:"The alias."`
	Expect *registry.Number `placeholder:"N" help:"Only if it names version N now."`
	Note   string           `placeholder:"TEXT" help:"Why; it stays in the history."`
	Yes    bool             `short:"y" help:"Do not ask."`
}

// Run removes an alias. Its history stays.
func (c aliasDeleteCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toChange)
	if err != nil {
		return err
	}
	if err := p.confirm(c.Yes, "remove the alias %s of %s", c.Name, c.Model); err != nil {
		return err
	}
	a, err := api.DeleteAlias(ctx, c.Model.Tenant, c.Model.Model, c.Name, registry.AliasChange{IfVersion: c.Expect, Note: c.Note})
	if err != nil {
		return p.suggest(ctx, api, c.Model, err)
	}
	if p.JSON {
		return p.printJSON(a)
	}
	_, err = fmt.Fprintf(p.stdout, "%s: removed\n", c.Name)
	return err
}
