package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"modelbucket/blob"
)

// CheckOptions choose what is checked: the whole bucket, one tenant, or one model.
type CheckOptions struct {
	Tenant Tenant
	Model  Model
	// Digests reads every byte of every version as well.
	Digests bool
	// Progress, unless nil, is told what was looked at so far.
	Progress func(CheckReport)
}

// CheckReport counts what was found and lists what is not as it should be.
type CheckReport struct {
	Models   int       `json:"models"`
	Versions int       `json:"versions"` // not deleted
	Deleted  int       `json:"deleted"`
	Uploads  int       `json:"uploads"` // under way, or waiting for the collector
	Objects  int       `json:"objects"`
	Bytes    int64     `json:"bytes"`
	OK       bool      `json:"ok"`
	Problems []Problem `json:"problems"`
	// Open are changes that the audit log does not tell the end of; they are no problem.
	Open []OpenChange `json:"open_changes,omitempty"`
}

// Check reads the records and indexes of many models and holds them against what lies
// in the bucket: damage, gaps, dangling references, stray objects. It changes nothing.
// What does not match is read a second time before it is called damage, as the line may
// have been at fault. While others publish it may call an object stray that a moment
// later is not.
func (r *Registry) Check(ctx context.Context, o CheckOptions) (*CheckReport, error) {
	c := &checker{r: r, o: o, report: &CheckReport{Problems: []Problem{}}}
	if o.Progress == nil {
		c.o.Progress = func(CheckReport) {}
	}
	if err := c.run(ctx); err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	c.report.OK = len(c.report.Problems) == 0
	return c.report, nil
}

type checker struct {
	r      *Registry
	o      CheckOptions
	report *CheckReport
}

// sideBySide calls f for 0 … n-1, several at a time, each with a checker of its own whose
// report is added to c's, in order.
func (c *checker) sideBySide(ctx context.Context, n int, f func(ctx context.Context, c *checker, i int) error) error {
	reports := make([]CheckReport, n)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for i := range reports {
		g.Go(func() error { return f(gctx, &checker{c.r, c.o, &reports[i]}, i) })
	}
	err := g.Wait()
	for _, r := range reports {
		c.report.Versions += r.Versions
		c.report.Deleted += r.Deleted
		c.report.Problems = append(c.report.Problems, r.Problems...)
	}
	return err
}

func (c *checker) problem(key, format string, args ...any) {
	c.report.Problems = append(c.report.Problems, Problem{key, fmt.Sprintf(format, args...), advise(key)})
}

// stray reports what nothing refers to, if it is still there: what a listing shows may be
// gone by now, or be a wrong byte of the line's.
func (c *checker) stray(ctx context.Context, key, format string, args ...any) error {
	there, err := c.there(ctx, key)
	if err == nil && there {
		c.report.Problems = append(c.report.Problems, Problem{key, fmt.Sprintf(format, args...), strayAdvice})
	}
	return err
}

// there asks once more for an object, or for anything below a prefix.
func (c *checker) there(ctx context.Context, key string) (bool, error) {
	if !strings.HasSuffix(key, "/") {
		return c.r.exists(ctx, key)
	}
	page, err := c.r.bucket.List(ctx, blob.ListOptions{Prefix: key, Limit: 1})
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", key, err)
	}
	return len(page.Objects) > 0, nil
}

// damage reports err if it speaks of what lies in the bucket, and returns it if not.
func (c *checker) damage(key string, err error) error {
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, blob.ErrNotFound), errors.Is(err, ErrVersionNotFound):
		c.problem(key, "%v", err)
		return nil
	}
	return err
}

func (c *checker) run(ctx context.Context) error {
	if c.o.Model != "" {
		return c.model(ctx, series{c.o.Tenant, c.o.Model})
	}
	if c.o.Tenant != "" {
		return c.tenant(ctx, c.o.Tenant)
	}
	// The top of the bucket: tenants, the system's folder, and nothing else.
	for after := ""; ; {
		page, err := c.r.bucket.List(ctx, blob.ListOptions{Delimiter: "/", StartAfter: after})
		if err != nil {
			return fmt.Errorf("list the bucket: %w", err)
		}
		for _, o := range page.Objects {
			if err := c.stray(ctx, o.Key, "is no object of ours; nothing lies at the top of the bucket"); err != nil {
				return err
			}
		}
		for _, p := range page.Prefixes {
			if p == systemPrefix {
				if err := c.system(ctx); err != nil {
					return err
				}
				continue
			}
			t, err := ParseTenant(segment(p))
			if err != nil {
				if err := c.stray(ctx, p, "is no folder of a tenant"); err != nil {
					return err
				}
				continue
			}
			if err := c.tenant(ctx, t); err != nil {
				return err
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

// system checks what belongs to no tenant.
func (c *checker) system(ctx context.Context) error {
	if err := c.audit(ctx, ""); err != nil {
		return err
	}
	return c.r.each(ctx, systemPrefix, func(o blob.Object) error {
		if strings.HasPrefix(o.Key, auditPrefix("")) {
			return nil
		}
		c.report.Objects++
		switch {
		case o.Key == formatKey:
			_, err := c.r.read(ctx, o.Key, new(struct{}))
			return c.damage(o.Key, err)
		case o.Key == rootTokenKey:
			var body rootTokenBody
			_, err := c.r.read(ctx, o.Key, &body)
			if err == nil {
				_, err = parseRootToken(body)
			}
			return c.damage(o.Key, err)
		case strings.HasPrefix(o.Key, keysPrefix):
			return c.key(ctx, o.Key)
		case !strings.HasPrefix(o.Key, gcPrefix) && !strings.HasPrefix(o.Key, probePrefix):
			return c.stray(ctx, o.Key, "is no object of ours")
		}
		return nil
	})
}

func (c *checker) tenant(ctx context.Context, t Tenant) error {
	for after := ""; ; {
		page, err := c.r.bucket.List(ctx, blob.ListOptions{Prefix: tenantPrefix(t), Delimiter: "/", StartAfter: after})
		if err != nil {
			return fmt.Errorf("list %s: %w", t, err)
		}
		for _, o := range page.Objects {
			c.report.Objects++
			var err error
			if o.Key != tenantKey(t) {
				err = c.stray(ctx, o.Key, "is no object of ours; a tenant has models and _tenant.json")
			} else if _, err = c.r.signatures(ctx, t); err != nil {
				err = c.damage(o.Key, err)
			}
			if err != nil {
				return err
			}
		}
		for _, p := range page.Prefixes {
			if p == auditPrefix(t) {
				if err := c.audit(ctx, t); err != nil {
					return err
				}
				continue
			}
			m, err := ParseModel(segment(p))
			if err != nil {
				if err := c.stray(ctx, p, "is no folder of a model"); err != nil {
					return err
				}
				continue
			}
			if err := c.model(ctx, series{t, m}); err != nil {
				return err
			}
			c.o.Progress(*c.report)
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}
