package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

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
}

// Check reads the records and indexes of many models and holds them against what lies
// in the bucket: damage, gaps, dangling references, stray objects. It changes nothing.
// While others publish it may call an object stray that a moment later is not.
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

func (c *checker) problem(key, format string, args ...any) {
	c.report.Problems = append(c.report.Problems, Problem{key, fmt.Sprintf(format, args...), advise(key)})
}

// stray reports what nothing refers to.
func (c *checker) stray(key, format string, args ...any) {
	c.report.Problems = append(c.report.Problems, Problem{key, fmt.Sprintf(format, args...), strayAdvice})
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
			c.stray(o.Key, "is no object of ours; nothing lies at the top of the bucket")
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
				c.stray(p, "is no folder of a tenant")
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
	return c.r.each(ctx, systemPrefix, func(o blob.Object) error {
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
		case !strings.HasPrefix(o.Key, gcPrefix) && !strings.HasPrefix(o.Key, probePrefix):
			c.stray(o.Key, "is no object of ours")
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
			if o.Key != tenantKey(t) {
				c.stray(o.Key, "is no object of ours; a tenant has models and _tenant.json")
			} else if _, _, err := readMutable[tenantBody](ctx, c.r, o.Key); err != nil {
				if err := c.damage(o.Key, err); err != nil {
					return err
				}
			}
		}
		for _, p := range page.Prefixes {
			m, err := ParseModel(segment(p))
			if err != nil {
				c.stray(p, "is no folder of a model")
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

// found is what a listing of a whole model shows.
type found struct {
	s       series
	top     Number
	records map[Number]bool
	folders map[ID]map[string]blob.Object
	labels  map[Label]bool
	intents map[ID]bool
	others  []location // all else but _model.json
	keys    []string   // of others
	model   bool
	unread  int // records that are damaged or missing
}

func (c *checker) survey(ctx context.Context, s series) (*found, error) {
	f := &found{
		s: s, records: map[Number]bool{}, folders: map[ID]map[string]blob.Object{},
		labels: map[Label]bool{}, intents: map[ID]bool{},
	}
	err := c.r.each(ctx, s.prefix(), func(o blob.Object) error {
		c.report.Objects++
		c.report.Bytes += o.Size
		l := s.locate(o.Key)
		switch l.kind {
		case kindForeign:
			c.stray(o.Key, "is no object of ours")
		case kindModel:
			f.model = true
		case kindRecord:
			f.records[l.number] = true
			f.top = max(f.top, l.number)
		case kindIntent:
			f.intents[l.id] = true
			f.others, f.keys = append(f.others, l), append(f.keys, o.Key)
		case kindFile, kindMetadata:
			if f.folders[l.id] == nil {
				f.folders[l.id] = map[string]blob.Object{}
			}
			f.folders[l.id][o.Key] = o
		case kindLabel:
			f.labels[Label(l.name)] = true
			f.others, f.keys = append(f.others, l), append(f.keys, o.Key)
		default:
			f.others, f.keys = append(f.others, l), append(f.keys, o.Key)
		}
		return nil
	})
	return f, err
}

func (c *checker) model(ctx context.Context, s series) error {
	f, err := c.survey(ctx, s)
	if err != nil {
		return err
	}
	c.report.Models++
	c.report.Uploads += len(f.intents)
	var body *modelBody
	if f.model {
		if body, err = c.r.readModel(ctx, s); err != nil {
			if err := c.damage(s.modelKey(), err); err != nil {
				return err
			}
		}
	} else if f.top > 0 {
		c.problem(s.modelKey(), "is missing, and the model has versions")
	}
	buried := map[Number]bool{}
	for _, l := range f.others {
		if l.kind == kindTombstone {
			buried[l.number] = true
		}
	}
	for n := Number(1); n <= f.top; n++ {
		deleted := buried[n] || body != nil && n <= body.DeletedThrough
		if err := c.version(ctx, f, n, deleted); err != nil {
			return err
		}
	}
	for i, l := range f.others {
		if err := c.damage(f.keys[i], c.other(ctx, f, l, f.keys[i])); err != nil {
			return err
		}
	}
	for id := range f.intents {
		delete(f.folders, id)
	}
	for _, id := range slices.Sorted(maps.Keys(f.folders)) {
		if f.unread > 0 {
			c.problem(s.folder(id), "belongs to no version that can be read, and to no upload under way: it may be that of a record which is damaged")
		} else {
			c.stray(s.folder(id), "belongs to no version and to no upload under way")
		}
	}
	return nil
}

// version checks one record and what it names, and takes its folder off the list.
func (c *checker) version(ctx context.Context, f *found, n Number, deleted bool) error {
	key := f.s.recordKey(n)
	if !f.records[n] {
		f.unread++
		c.problem(key, "is missing: numbers have no gaps")
		return nil
	}
	rec := new(record)
	if _, err := c.r.read(ctx, key, rec); err != nil {
		f.unread++
		return c.damage(key, err)
	}
	objects := f.folders[rec.Folder]
	delete(f.folders, rec.Folder)
	m, err := c.r.readMetadata(ctx, f.s, rec)
	if err != nil {
		return c.damage(f.s.metadataKey(rec.Folder), err)
	}
	if rec.Label != m.Label {
		c.problem(key, "has label %q, its metadata has %q", rec.Label, m.Label)
	}
	if rec.Label != "" && !f.labels[rec.Label] {
		c.problem(f.s.labelKey(rec.Label), "is missing, and version %d has this label", n)
	}
	if deleted {
		c.report.Deleted++
	} else {
		c.report.Versions++
	}
	return c.files(ctx, f.s, rec, m, objects, deleted)
}

// files holds what lies in a version's folder against its metadata. Files of a deleted
// version go, or are gone; those that are left can be restored, so they must be right.
func (c *checker) files(ctx context.Context, s series, rec *record, m *metadata, objects map[string]blob.Object, deleted bool) error {
	delete(objects, s.metadataKey(m.ID))
	for _, file := range m.Files {
		key := s.fileKey(m.ID, file.Name)
		o, ok := objects[key]
		delete(objects, key)
		switch {
		case !ok && deleted:
		case !ok:
			c.problem(key, "is missing, and the metadata of version %d names it", rec.Version)
		case o.Size != file.Size:
			c.problem(key, "has %d bytes, the metadata of version %d names %d", o.Size, rec.Version, file.Size)
		case c.o.Digests:
			if _, err := c.r.readThrough(ctx, versionOf(rec, m), file.Name); err != nil && !errors.Is(err, ErrVersionDeleted) {
				if err := c.damage(key, err); err != nil {
					return err
				}
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		c.stray(key, "lies in the folder of version %d, whose metadata does not name it", rec.Version)
	}
	return nil
}

// other checks an object beside the records.
func (c *checker) other(ctx context.Context, f *found, l location, key string) error {
	switch l.kind {
	case kindAttributes, kindTombstone:
		if !f.records[l.number] {
			c.problem(key, "belongs to version %d, which does not exist", l.number)
			return nil
		}
		if l.kind == kindTombstone {
			_, err := c.r.read(ctx, key, new(tombstone))
			return err
		}
		_, _, err := readMutable[attributes](ctx, c.r, key)
		return err
	case kindLabel:
		_, _, err := c.r.findLabel(ctx, f.s, Label(l.name)) // may be of an upload that came to nothing
		return err
	case kindOperation:
		_, err := c.r.read(ctx, key, new(index))
		return err
	case kindTrash:
		return c.passing(ctx, key, new(trash))
	case kindIntent:
		return c.passing(ctx, key, new(intent))
	case kindAlias:
		a, _, err := readMutable[aliasBody](ctx, c.r, key)
		if err != nil || a == nil || a.Version == 0 {
			return err
		}
		_, deleted, err := c.r.state(ctx, f.s, a.Version)
		if err == nil && deleted {
			advice := "set it to another version, or delete it"
			if slices.ContainsFunc(f.others, func(l location) bool { return l.kind == kindTrash && l.covers(a.Version) }) {
				advice += "; else the next pass of gc takes it back"
			}
			c.report.Problems = append(c.report.Problems, Problem{key, fmt.Sprintf("names version %d, which is deleted", a.Version), advice})
		}
		return err
	}
	return nil
}

// passing checks an object that may be gone by now, as its work is done.
func (c *checker) passing(ctx context.Context, key string, body any) error {
	if _, err := c.r.read(ctx, key, body); !isNotFound(err) {
		return err
	}
	return nil
}
