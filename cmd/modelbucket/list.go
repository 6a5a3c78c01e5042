package main

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"modelbucket/registry"
	"modelbucket/web/client"
)

// howMany is how many a list may have.
type howMany struct {
	Limit int  `default:"100" help:"How many at most."`
	All   bool `help:"All of them."`
}

// most is 0 for all.
func (c howMany) most() (int, error) {
	switch {
	case c.Limit < 1:
		return 0, usage("for example --limit 20, or --all", "--limit is %d", c.Limit)
	case c.All:
		return 0, nil
	}
	return c.Limit, nil
}

type listCommand struct {
	What string `arg:"" optional:"" placeholder:"TENANT[/MODEL]" help:"A tenant, to list its models, or a model, to list its versions. Without: all models that you may see."`
	howMany
	Deleted bool `help:"Show deleted versions too."`
}

// Run lists models, or the versions of one.
func (c listCommand) Run(ctx context.Context, p *program) error {
	most, err := c.most()
	if err != nil {
		return err
	}
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	if strings.Contains(c.What, "/") {
		ref, err := registry.ParseRef(c.What)
		if err != nil {
			return err
		}
		if !ref.Selector.IsLatest() {
			return usage("show one version with: modelbucket show "+ref.String(), "%s names one version", ref)
		}
		return c.versions(ctx, p, api, ref, most)
	}
	return c.models(ctx, p, api, most)
}

func (c listCommand) models(ctx context.Context, p *program, api *client.Client, most int) error {
	which := client.ModelList{Latest: !p.Quiet}
	all := api.AllModels(ctx, which)
	if c.What != "" {
		tenant, err := registry.ParseTenant(c.What)
		if err != nil {
			return err
		}
		all = api.Models(ctx, tenant, which)
	}
	models, more, err := take(all, most)
	if err != nil {
		return err
	}
	t := table{header: []string{"MODEL", "LATEST", "ALIASES", "CREATED", "BY", "DESCRIPTION"}}
	for _, m := range models {
		latest := dash
		if m.Latest != nil {
			latest = m.Latest.String()
		}
		t.add(string(m.Tenant)+"/"+string(m.Model), latest, aliasesOf(m), p.when(m.CreatedAt), m.CreatedBy, m.Description)
	}
	return p.result(models, "models", more, t, 0)
}

func (c listCommand) versions(ctx context.Context, p *program, api *client.Client, ref registry.Ref, most int) error {
	versions, more, err := take(api.Versions(ctx, ref.Tenant, ref.Model, client.VersionList{Deleted: c.Deleted}), most)
	if err != nil {
		return p.suggest(ctx, api, ref, err)
	}
	t := table{header: []string{"VERSION", "LABEL", "ALIASES", "SIZE", "CREATED", "BY", "TRAINED WITH"}}
	for i, v := range versions {
		label, with := dash, ""
		if v.Label != nil {
			label = string(*v.Label)
		}
		if v.SklearnVersion != nil {
			with = "scikit-learn " + *v.SklearnVersion
		}
		aliases := joined(v.Aliases)
		if newest := i == slices.IndexFunc(versions, active); newest {
			aliases = strings.TrimPrefix(aliases+", latest", ", ")
		}
		if v.State == registry.StateDeleted {
			aliases = "(deleted"
			if v.DeletedAt != nil {
				aliases += " " + p.when(*v.DeletedAt) + " by " + v.DeletedBy
			}
			aliases += ")"
		}
		t.add(v.Version.String(), label, aliases, p.size(v.Size), p.when(v.CreatedAt), v.CreatedBy, with)
	}
	if p.Quiet {
		for i, v := range versions {
			t.rows[i][0] = v.Ref().String()
		}
	}
	return p.result(versions, "versions", more, t, 0)
}

func active(v *registry.Version) bool { return v.State == registry.StateActive }

// result prints a list in the form that was asked for; with --quiet only the column of
// names. It tells when there is more.
func (p *program) result(items any, name string, more bool, t table, names int) error {
	switch {
	case p.JSON:
		if err := p.printJSON(map[string]any{name: items, "more": more}); err != nil {
			return err
		}
	case p.Quiet:
		for _, row := range t.rows {
			if _, err := fmt.Fprintln(p.stdout, row[names]); err != nil {
				return err
			}
		}
	default:
		if err := p.print(t); err != nil {
			return err
		}
	}
	if more {
		p.say("there are more: --all lists them all")
	}
	return nil
}

// take collects up to limit items (0: all), and tells whether there are more.
func take[T any](items iter.Seq2[T, error], limit int) (taken []T, more bool, err error) {
	taken = []T{}
	for item, err := range items {
		if err != nil {
			return nil, false, err
		}
		if limit > 0 && len(taken) == limit {
			return taken, true, nil
		}
		taken = append(taken, item)
	}
	return taken, false, nil
}

func aliasesOf(m *registry.ModelInfo) string {
	var all []string
	for alias, n := range m.Aliases {
		all = append(all, fmt.Sprintf("%s=%d", alias, n))
	}
	return joined(all)
}
