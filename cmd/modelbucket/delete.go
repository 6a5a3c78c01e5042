package main

import (
	"context"
	"fmt"
	"strings"

	"modelbucket/registry"
	"modelbucket/web/client"
)

type deleteCommand struct {
	Ref    string `arg:"" placeholder:"REF" help:"Version to delete, for example acme/fraud:7 or acme/fraud:latest; a model with --all-versions."`
	All    bool   `name:"all-versions" help:"Delete the model itself with all its versions."`
	Reason string `placeholder:"TEXT" help:"Why; it is kept beside who and when."`
	Yes    bool   `short:"y" help:"Do not ask."`
	DryRun bool   `help:"Only say what would be deleted."`
}

// Run deletes a version, or a model where that was said in so many words: a name
// without a version never means all of them.
func (c deleteCommand) Run(ctx context.Context, p *program) error {
	ref, err := registry.ParseRef(c.Ref)
	if err != nil {
		return err
	}
	named := strings.ContainsAny(c.Ref, ":@")
	if c.All == named {
		if named {
			return usage("leave the version out to delete the model", "%s names one version, --all-versions all of them", c.Ref)
		}
		return usage(fmt.Sprintf("name one (%s:latest is the newest), or say --all-versions", c.Ref), "%s names no version", c.Ref)
	}
	api, err := p.connect(ctx, toChange)
	if err != nil {
		return err
	}
	if c.All {
		return c.model(ctx, p, api, ref)
	}
	v, err := api.Version(ctx, ref)
	if err != nil {
		return p.suggest(ctx, api, ref, err)
	}
	if c.DryRun {
		return c.would(p, v.Ref())
	}
	if err := p.confirm(c.Yes, "delete %s", v.Ref()); err != nil {
		return err
	}
	p.ifInterrupted("see whether it was deleted: modelbucket show " + v.Ref().String())
	deleted, err := api.DeleteVersion(ctx, v.Ref(), registry.Deletion{Reason: c.Reason, IfNumber: v.Version})
	if err != nil {
		return err
	}
	if p.JSON {
		return p.printJSON(deleted)
	}
	if _, err := fmt.Fprintln(p.stdout, deleted.Ref()); err != nil {
		return err
	}
	p.say("deleted; until the collector takes its files: modelbucket restore %s", deleted.Ref())
	return nil
}

func (c deleteCommand) would(p *program, what any) error {
	if p.JSON {
		return p.printJSON(map[string]any{"dry_run": true, "would_delete": fmt.Sprint(what)})
	}
	_, err := fmt.Fprintln(p.stdout, what)
	p.say("not deleted: this was a dry run")
	return err
}

func (c deleteCommand) model(ctx context.Context, p *program, api *client.Client, ref registry.Ref) error {
	m, err := api.Model(ctx, ref.Tenant, ref.Model)
	if err != nil {
		return p.suggest(ctx, api, ref, err)
	}
	if c.DryRun {
		return c.would(p, ref)
	}
	latest := "it has no version"
	if m.Latest != nil {
		latest = "latest is " + m.Latest.String()
	}
	if err := p.confirm(c.Yes, "delete %s with all its versions (%s)", ref, latest); err != nil {
		return err
	}
	p.ifInterrupted("see whether it was deleted: modelbucket list " + ref.String())
	deleted, err := api.DeleteModel(ctx, ref.Tenant, ref.Model, c.Reason)
	if err != nil {
		return err
	}
	if p.JSON {
		return p.printJSON(deleted)
	}
	_, err = fmt.Fprintln(p.stdout, ref)
	p.say("deleted with all its versions")
	return err
}

type restoreCommand struct {
	Ref   registry.Ref     `arg:"" placeholder:"REF" help:"Deleted version, for example acme/fraud:7."`
	Label registry.Label   `placeholder:"LABEL" help:"Name for the new version; the old one keeps its own."`
	Alias []registry.Alias `placeholder:"ALIAS" help:"Alias to move to the new version; may be repeated."`
}

// Run makes a new version of a deleted one's files. Nothing is un-deleted.
func (c restoreCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toChange)
	if err != nil {
		return err
	}
	v, err := api.Restore(ctx, c.Ref, client.Publication{Label: c.Label, Aliases: c.Alias})
	if err != nil {
		return p.suggest(ctx, api, c.Ref, err)
	}
	return p.published(ctx, api, v, c.Alias)
}

type copyCommand struct {
	Ref   registry.Ref     `arg:"" placeholder:"REF" help:"Version to copy."`
	To    registry.Ref     `arg:"" placeholder:"[TENANT/]MODEL" help:"Model that gets it as a new version."`
	Label registry.Label   `placeholder:"LABEL" help:"Name for the new version."`
	Alias []registry.Alias `placeholder:"ALIAS" help:"Alias to move to the new version; may be repeated."`
}

// Run makes a new version, in this or another model, of a version's files.
func (c copyCommand) Run(ctx context.Context, p *program) error {
	if !c.To.Selector.IsLatest() {
		return usage("give the new version a name with --label", "%s names a version; its number is given when it is saved", c.To)
	}
	api, err := p.connect(ctx, toSave)
	if err != nil {
		return err
	}
	v, err := api.Copy(ctx, c.Ref, client.Publication{Tenant: c.To.Tenant, Model: c.To.Model, Label: c.Label, Aliases: c.Alias})
	if err != nil {
		return p.suggest(ctx, api, c.Ref, err)
	}
	return p.published(ctx, api, v, c.Alias)
}
