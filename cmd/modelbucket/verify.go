package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"modelbucket/registry"
	"modelbucket/web/client"
)

type verifyCommand struct {
	Refs []string `arg:"" optional:"" placeholder:"REF…" help:"Versions; a model without a version means all of its versions."`
	All  bool     `help:"All versions of all models that you may see."`
}

// Run has the server read every byte of versions and compare it with what was saved.
func (c verifyCommand) Run(ctx context.Context, p *program) error {
	if c.All == (len(c.Refs) > 0) {
		return usage("for example: modelbucket verify acme/fraud:7", "name versions, or say --all")
	}
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	refs, err := c.versions(ctx, p, api)
	if err != nil {
		return err
	}
	t := table{header: []string{"VERSION", "FILES", "BYTES", "STATE", "SIGNATURE"}}
	reports := []*registry.VerifyReport{}
	bad := 0
	for _, ref := range refs {
		r, err := api.Verify(ctx, ref)
		if err != nil {
			return p.suggest(ctx, api, ref, err)
		}
		state := "ok"
		if !r.OK {
			bad++
			state = fmt.Sprintf("%d problems", len(r.Problems))
		}
		reports = append(reports, r)
		t.add(r.Ref, fmt.Sprint(r.Files), p.size(r.Bytes), state, signedAs(r.Signature))
	}
	if err := p.result(reports, "reports", false, t, 0); err != nil {
		return err
	}
	for _, r := range reports {
		p.tell(r.Problems)
	}
	return corruption(bad, len(refs), "versions")
}

// versions are the pinned references that were asked for.
func (c verifyCommand) versions(ctx context.Context, p *program, api *client.Client) ([]registry.Ref, error) {
	var refs []registry.Ref
	whole := func(t registry.Tenant, m registry.Model) error {
		for v, err := range api.Versions(ctx, t, m, client.VersionList{}) {
			if err != nil {
				return p.suggest(ctx, api, registry.Ref{Tenant: t, Model: m}, err)
			}
			refs = append(refs, v.Ref())
		}
		return nil
	}
	if c.All {
		for m, err := range api.AllModels(ctx, client.ModelList{}) {
			if err != nil {
				return nil, err
			}
			if err := whole(m.Tenant, m.Model); err != nil {
				return nil, err
			}
		}
	}
	for _, text := range c.Refs {
		ref, err := registry.ParseRef(text)
		if err != nil {
			return nil, err
		}
		if strings.ContainsAny(text, ":@") {
			refs = append(refs, ref)
		} else if err := whole(ref.Tenant, ref.Model); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

// tell names problems on stderr, and below each what can be done.
func (p *program) tell(problems []registry.Problem) {
	for _, problem := range problems {
		fmt.Fprintf(p.stderr, "%s: %s\n  %s\n", plain(problem.Key), plain(problem.Problem), plain(problem.Advice))
	}
}

// corruption is how a run ends that found something wrong.
func corruption(bad, all int, what string) error {
	if bad == 0 {
		return nil
	}
	return &mistake{
		text: fmt.Sprintf("%d of %d %s are not what was saved", bad, all, what),
		hint: "bring the objects named above back from the bucket's own versions or a backup; then verify again",
		exit: exitCorrupt,
	}
}

// parseScope reads TENANT or TENANT/MODEL; "" is neither.
func parseScope(text string) (t registry.Tenant, m registry.Model, err error) {
	tenant, model, hasModel := strings.Cut(text, "/")
	if tenant != "" {
		if t, err = registry.ParseTenant(tenant); err != nil {
			return "", "", err
		}
	}
	if hasModel {
		m, err = registry.ParseModel(model)
	}
	return t, m, err
}

type checkCommand struct {
	What    string `arg:"" optional:"" placeholder:"TENANT[/MODEL]" help:"Only this tenant or model."`
	Digests bool   `help:"Read every byte of every version as well."`
}

// Run looks at the whole bucket, changes nothing, and names what does not belong or
// does not agree.
func (c checkCommand) Run(ctx context.Context, p *program) error {
	o := registry.CheckOptions{Digests: c.Digests}
	var err error
	if o.Tenant, o.Model, err = parseScope(c.What); err != nil {
		return err
	}
	reg, err := p.openStore(ctx, "check", true)
	if err != nil {
		return err
	}
	report, err := reg.Check(ctx, o)
	if err != nil {
		return err
	}
	if p.JSON {
		err = p.printJSON(report)
	} else if !p.Quiet {
		_, err = fmt.Fprintf(p.stdout, "%d models, %d versions, %d deleted, %d uploads under way, %d objects, %s\n",
			report.Models, report.Versions, report.Deleted, report.Uploads, report.Objects, shortSize(report.Bytes))
	}
	if err != nil {
		return err
	}
	p.tell(report.Problems)
	for _, open := range report.Open {
		p.say("%s by %s at %s (%s) was begun, and its end is not in the audit log: %s; it is under way, or its node ended",
			plain(string(open.Action)+" "+subject(open.AuditRecord)), plain(open.By), open.At.UTC().Format(time.RFC3339), open.ID, open.Outcome)
	}
	if !report.OK {
		return &mistake{text: fmt.Sprintf("%d problems found", len(report.Problems)),
			hint: "modelbucket verify REF tells more of a version; objects come back from the bucket's own versions or a backup", exit: exitCorrupt}
	}
	if !p.JSON {
		p.say("no problems found")
	}
	return nil
}
