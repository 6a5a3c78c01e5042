package main

import (
	"context"
	"fmt"
	"time"

	"modelbucket/registry"
)

type gcCommand struct {
	DryRun    bool          `help:"Only count what would be done."`
	Grace     time.Duration `default:"24h" help:"Age at which an upload that never ended is condemned."`
	Confirm   time.Duration `default:"2h" help:"How long it stays condemned before its files are deleted."`
	Retention time.Duration `default:"168h" help:"How long the files of a deleted version are kept, so that it can be restored."`
}

// Run collects what is no longer needed: a pass of what every node does by itself.
func (c gcCommand) Run(ctx context.Context, p *program) error {
	for name, d := range map[string]time.Duration{"grace": c.Grace, "confirm": c.Confirm, "retention": c.Retention} {
		if d <= 0 {
			return usage("for example --"+name+"=24h", "--%s is %v", name, d)
		}
	}
	reg, err := p.openStore(ctx, "gc", false)
	if err != nil {
		return err
	}
	p.ifInterrupted("what was not collected is left to the next pass")
	report, err := reg.Collect(ctx, registry.CollectOptions{DryRun: c.DryRun, Grace: c.Grace, Confirm: c.Confirm, Retention: c.Retention})
	if err != nil {
		return err
	}
	if p.JSON {
		return p.printJSON(report)
	}
	if p.Quiet {
		_, err := fmt.Fprintln(p.stdout, report.Objects)
		return err
	}
	done := "deleted"
	if c.DryRun {
		done = "would be deleted (dry run)"
	}
	_, err = fmt.Fprintf(p.stdout, "%d objects of %d abandoned uploads and %d deleted versions %s, %s; %d uploads condemned; %d idempotency keys forgotten; %d aliases taken back from deleted versions\n",
		report.Objects, report.Uploads, report.Versions, done, shortSize(report.Bytes), report.Condemned, report.Operations, report.Aliases)
	return err
}
