package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"modelbucket/blob"
)

// The defaults of CollectOptions. Confirm covers the fence, the longest life of a
// request on its way and the difference of clocks that a store puts up with.
const (
	DefaultGrace     = 24 * time.Hour
	DefaultConfirm   = 2 * time.Hour
	DefaultRetention = 7 * 24 * time.Hour
	operationLife    = 7 * 24 * time.Hour
	systemLife       = 24 * time.Hour
)

// shortestConfirm: so long a publisher may take to learn that its upload was given up.
const shortestConfirm = lateCommit

// CollectOptions say what is old enough. Ages are differences of times that the store
// itself gave; no node's clock counts.
type CollectOptions struct {
	// DryRun changes nothing, but for the object that asks the store for its time.
	DryRun bool
	// Grace is the age at which an upload without a commit is condemned (0: 24 h).
	Grace time.Duration
	// Confirm is how long it stays condemned before its files are deleted (0: 2 h; less
	// than 1 h is 1 h, as its publisher may still be at work).
	Confirm time.Duration
	// Retention is how long the files of a deleted version are kept (0: 7 days). Word of
	// the deletion is kept for 1 h at least: who set an alias meanwhile may be at work.
	Retention time.Duration
	// Progress, unless nil, is told the model that is looked at.
	Progress func(model string)
}

// CollectReport counts what a pass found and, unless it was a dry run, did.
type CollectReport struct {
	DryRun     bool  `json:"dry_run"`
	Models     int   `json:"models"`     // looked at
	Condemned  int   `json:"condemned"`  // uploads that stood still, to be deleted by a later pass
	Uploads    int   `json:"uploads"`    // condemned uploads deleted
	Versions   int   `json:"versions"`   // deleted versions whose files were deleted
	Operations int   `json:"operations"` // idempotency keys forgotten
	Aliases    int   `json:"aliases"`    // taken back, as they named deleted versions
	Objects    int   `json:"objects"`    // deleted in all
	Bytes      int64 `json:"bytes"`      // freed
}

// Collect makes one pass of garbage collection. Its cost is that of the garbage: it
// looks at intents, at deleted versions and at the aliases of models that have some, and
// never searches for what else might be there (Check does). Any number of passes may run at once. Any error of a listing
// ends the pass: nothing is deleted on the word of an incomplete answer. A damaged
// object keeps back only what hangs on it: the pass goes on with the rest, and is
// ErrCorrupt at its end, naming all of them.
func (r *Registry) Collect(ctx context.Context, o CollectOptions) (*CollectReport, error) {
	if err := r.writable(); err != nil {
		return nil, err
	}
	o.Grace = orDefault(o.Grace, DefaultGrace)
	o.Confirm = max(orDefault(o.Confirm, DefaultConfirm), shortestConfirm)
	o.Retention = orDefault(o.Retention, DefaultRetention)
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	c := &collector{r: r, o: o, report: &CollectReport{DryRun: o.DryRun}}
	if err := c.pass(ctx); err != nil {
		return c.report, fmt.Errorf("collect: %w", err)
	}
	return c.report, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

type collector struct {
	r      *Registry
	o      CollectOptions
	report *CollectReport
	now    time.Time // the store's
	damage []error   // ErrCorrupt, each of another object
}

// skip takes note of damage, and returns any other error.
func (c *collector) skip(err error) error {
	if errors.Is(err, ErrCorrupt) {
		c.damage = append(c.damage, err)
		return nil
	}
	return err
}

func (c *collector) pass(ctx context.Context) (err error) {
	clock := gcKey(c.r.newID())
	if err := c.r.put(ctx, clock, []byte("{}")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.r.bucket.Delete(context.WithoutCancel(ctx), clock)) }()
	stat, err := c.r.bucket.Stat(ctx, clock)
	if err != nil {
		return fmt.Errorf("ask the store for its time: %w", err)
	}
	c.now = stat.Modified
	for tenant := Tenant(""); ; {
		next, err := c.r.tenantNames(ctx, tenant, 1, "", nil)
		if err != nil {
			return err
		}
		if len(next) == 0 {
			return errors.Join(c.system(ctx), errors.Join(c.damage...))
		}
		tenant = next[0]
		if err := c.tenant(ctx, tenant); err != nil {
			return err
		}
	}
}

func (c *collector) tenant(ctx context.Context, t Tenant) error {
	before := c.report.Objects
	defer func() {
		if c.report.Objects > before {
			c.r.doubt(t)
		}
	}()
	for after := Model(""); ; {
		names, complete, err := c.r.modelNames(ctx, t, after, keysForPage)
		if err != nil {
			return err
		}
		for _, m := range names {
			after = m
			s := series{t, m}
			c.report.Models++
			c.o.Progress(s.String())
			for _, sweep := range []func(context.Context, series) error{c.uploads, c.trash, c.operations} {
				if err := c.skip(sweep(ctx, s)); err != nil {
					return fmt.Errorf("%s: %w", s, err)
				}
			}
		}
		if complete {
			return nil
		}
	}
}

func (c *collector) old(o blob.Object, age time.Duration) bool { return c.now.Sub(o.Modified) > age }

// each calls f for every object below prefix.
func (r *Registry) each(ctx context.Context, prefix string, f func(blob.Object) error) error {
	for after := ""; ; {
		page, err := r.bucket.List(ctx, blob.ListOptions{Prefix: prefix, StartAfter: after})
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		for _, o := range page.Objects {
			if err := f(o); err != nil {
				return err
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

func (c *collector) delete(ctx context.Context, o blob.Object) error {
	c.report.Objects++
	c.report.Bytes += o.Size
	if c.o.DryRun {
		return nil
	}
	if err := c.r.bucket.Delete(ctx, o.Key); err != nil {
		return fmt.Errorf("delete %s: %w", o.Key, err)
	}
	return nil
}

// uploads condemns intents that stood still, and deletes what was condemned long ago
// and has no record.
func (c *collector) uploads(ctx context.Context, s series) error {
	return c.r.each(ctx, s.uploadsPrefix(), func(o blob.Object) error {
		l := s.locate(o.Key)
		if l.kind != kindIntent || !c.old(o, min(c.o.Grace, c.o.Confirm)) {
			return nil
		}
		// The listing may be older than what is read now, which has its own age.
		body := new(intent)
		o, err := c.r.read(ctx, o.Key, body)
		switch {
		case isNotFound(err): // committed or given up just now
			return nil
		case err != nil:
			return c.skip(err)
		case body.State == intentOpen && c.old(o, c.o.Grace):
			return c.skip(c.condemn(ctx, o.Key, body))
		case body.State == intentCondemned && c.old(o, c.o.Confirm):
			return c.skip(c.upload(ctx, s, l.id, o, body))
		}
		return nil
	})
}

// condemn marks an intent; from then on its publisher can't renew it, and so sends
// nothing more. An intent that was renewed meanwhile lives.
func (c *collector) condemn(ctx context.Context, key string, seen *intent) error {
	c.report.Condemned++
	if c.o.DryRun {
		return nil
	}
	_, err := update(ctx, c.r, key, "", func(old *intent) (*intent, error) {
		if old == nil || old.Revision != seen.Revision {
			return nil, errKeep
		}
		next := *old
		next.State = intentCondemned
		return &next, nil
	})
	if errors.Is(err, errKeep) {
		c.report.Condemned--
		return nil
	}
	return err
}

// upload ends a condemned intent: alone if its folder was committed, else with all
// that lies in the folder, the intent last.
func (c *collector) upload(ctx context.Context, s series, id ID, o blob.Object, body *intent) error {
	top, err := c.r.top(ctx, s)
	if err != nil {
		return err
	}
	committed := false
	err = c.r.recordRange(ctx, s, body.Sweep+1, top, func(rec *record) error {
		committed = committed || rec.Folder == id
		return nil
	})
	if err != nil {
		return err
	}
	if !committed {
		c.report.Uploads++
		for _, name := range body.Large {
			if c.o.DryRun {
				break
			}
			if err := c.r.bucket.AbortUploads(ctx, s.fileKey(id, FileName(name))); err != nil {
				return fmt.Errorf("abort the upload of %s: %w", name, err)
			}
		}
		if err := c.folder(ctx, s, id, nil); err != nil {
			return err
		}
	}
	return c.delete(ctx, o)
}

// folder deletes the objects of a folder, but for the keys to be kept, until a listing
// shows no more of them.
func (c *collector) folder(ctx context.Context, s series, id ID, keep []string) error {
	for {
		found := 0
		err := c.r.each(ctx, s.folder(id), func(o blob.Object) error {
			if slices.Contains(keep, o.Key) {
				return nil
			}
			found++
			return c.delete(ctx, o)
		})
		if err != nil || found == 0 || c.o.DryRun {
			return err
		}
	}
}

// operations forgets idempotency keys whose time is over.
func (c *collector) operations(ctx context.Context, s series) error {
	return c.r.each(ctx, s.operationsPrefix(), func(o blob.Object) error {
		if s.locate(o.Key).kind != kindOperation || !c.old(o, operationLife) {
			return nil
		}
		// A request may have renewed it since it was listed.
		now, err := c.r.bucket.Stat(ctx, o.Key)
		switch {
		case isNotFound(err), err == nil && !c.old(now, operationLife):
			return nil
		case err != nil:
			return fmt.Errorf("look at %s: %w", o.Key, err)
		}
		c.report.Operations++
		return c.delete(ctx, o)
	})
}

// system removes what probes and passes that died left behind.
func (c *collector) system(ctx context.Context) error {
	for _, prefix := range []string{gcPrefix, probePrefix} {
		err := c.r.each(ctx, prefix, func(o blob.Object) error {
			if !c.old(o, systemLife) {
				return nil
			}
			return c.delete(ctx, o)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
