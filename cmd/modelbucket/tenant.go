package main

import (
	"context"
	"fmt"

	"modelbucket/registry"
	"modelbucket/web/client"
)

type tenantCommand struct {
	Create tenantCreateCommand `cmd:"" help:"Describe a tenant that is not there yet."`
	List   tenantListCommand   `cmd:"" help:"List the tenants that you may see."`
	Show   tenantShowCommand   `cmd:"" help:"Show all that is known of a tenant."`
	Set    tenantSetCommand    `cmd:"" help:"Change what is known of a tenant."`
	Delete tenantDeleteCommand `cmd:"" help:"Delete a tenant that has no models, and revoke its keys."`
}

// tenantFlags are what can be said of a tenant.
type tenantFlags struct {
	Description *string           `placeholder:"TEXT" help:"What it is."`
	Tag         map[string]string `placeholder:"NAME=VALUE" mapsep:"none" help:"Tag; may be repeated; with an empty VALUE it is removed."`
	Limit       []limitFlag       `placeholder:"NAME=VALUE" help:"What it may do; may be repeated. A number, unlimited, or default: what each node's --limit says. There are ${names}."`
}

func (f tenantFlags) change() registry.Change {
	c := registry.Change{Description: f.Description}
	for name, value := range f.Tag {
		if c.Tags == nil {
			c.Tags = map[string]*string{}
		}
		if value == "" {
			c.Tags[name] = nil
		} else {
			c.Tags[name] = &value
		}
	}
	for _, l := range f.Limit {
		if c.Limits == nil {
			c.Limits = map[registry.LimitName]*registry.Limit{}
		}
		c.Limits[l.name] = l.limit
	}
	return c
}

type tenantCreateCommand struct {
	Tenant registry.Tenant `arg:"" placeholder:"TENANT" help:"Its name."`
	tenantFlags
}

// Run makes a tenant known. A tenant needs no making before its first version: this is
// for its description, and to fail where there is one.
func (c tenantCreateCommand) Run(ctx context.Context, p *program) error {
	change := c.change()
	change.IfRevision = new(int64)
	return p.changeTenant(ctx, toSave, c.Tenant, change)
}

type tenantSetCommand struct {
	Tenant registry.Tenant `arg:"" placeholder:"TENANT" help:"The tenant."`
	tenantFlags
	trustFlags
}

// Run changes a tenant.
func (c tenantSetCommand) Run(ctx context.Context, p *program) error {
	change := c.change()
	if c.trustFlags.given() {
		return c.setTrust(ctx, p, c.Tenant, change)
	}
	if change.Description == nil && change.Tags == nil && change.Limits == nil {
		return usage("for example --description 'fraud team', or --limit requests_per_second=100", "nothing was said that is to be changed")
	}
	return p.changeTenant(ctx, toChange, c.Tenant, change)
}

func (p *program) changeTenant(ctx context.Context, to intent, t registry.Tenant, change registry.Change) error {
	api, err := p.connect(ctx, to)
	if err != nil {
		return err
	}
	info, err := api.UpdateTenant(ctx, t, change)
	if err != nil {
		return err
	}
	return p.showTenant(info)
}

type tenantShowCommand struct {
	Tenant registry.Tenant `arg:"" placeholder:"TENANT" help:"The tenant."`
}

// Run shows a tenant.
func (c tenantShowCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	info, err := api.Tenant(ctx, c.Tenant)
	if err != nil {
		return err
	}
	return p.showTenant(info)
}

func (p *program) showTenant(info *registry.TenantInfo) error {
	if p.JSON {
		return p.printJSON(info)
	}
	if p.Quiet {
		_, err := fmt.Fprintln(p.stdout, info.Tenant)
		return err
	}
	t := table{header: []string{"TENANT", string(info.Tenant)}}
	t.add("description", orDash(info.Description))
	if info.CreatedAt != nil {
		t.add("created", p.when(*info.CreatedAt))
	}
	for _, name := range sortedKeys(info.Tags) {
		t.add("tag "+name, info.Tags[name])
	}
	p.addLimits(&t, info)
	addTrust(&t, info.Signatures)
	return p.print(t)
}

type tenantListCommand struct {
	howMany
}

// Run lists tenants.
func (c tenantListCommand) Run(ctx context.Context, p *program) error {
	most, err := c.most()
	if err != nil {
		return err
	}
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	tenants, more, err := take(api.Tenants(ctx, client.List{}), most)
	if err != nil {
		return err
	}
	t := table{header: []string{"TENANT", "CREATED", "DESCRIPTION"}}
	for _, info := range tenants {
		created := dash
		if info.CreatedAt != nil {
			created = p.when(*info.CreatedAt)
		}
		t.add(string(info.Tenant), created, info.Description)
	}
	return p.result(tenants, "tenants", more, t, 0)
}

type tenantDeleteCommand struct {
	Tenant registry.Tenant `arg:"" placeholder:"TENANT" help:"The tenant; it must have no models."`
	Yes    bool            `short:"y" help:"Do not ask."`
}

// Run deletes a tenant.
func (c tenantDeleteCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toChange)
	if err != nil {
		return err
	}
	if err := p.confirm(c.Yes, "delete the tenant %s and revoke its keys", c.Tenant); err != nil {
		return err
	}
	p.ifInterrupted("see whether it was deleted: modelbucket tenant show " + string(c.Tenant))
	info, err := api.DeleteTenant(ctx, c.Tenant)
	if err != nil {
		return err
	}
	if p.JSON {
		return p.printJSON(info)
	}
	_, err = fmt.Fprintf(p.stdout, "%s: deleted\n", info.Tenant)
	return err
}
