package registrytest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
)

// never is later than all stamps.
const never = int64(math.MaxInt64)

// final is what the bucket holds once all has landed, read on a sound line.
type final struct {
	versions map[series][]*registry.Version // by number − 1, the deleted ones too
	contents map[series]map[registry.Number]string
	models   map[series]*registry.ModelInfo
	aliases  map[aliasKey][]change // by revision − 1
}

// change is one state of an alias.
type change struct {
	revision  int64
	version   registry.Number // 0: removed
	by        string
	takenBack bool
}

const auditor = "auditor"

// check lets collectors sweep what a dead node left, reads the bucket, and holds the
// history against it. Then it lets a retention go by and looks for garbage.
func (r *run) check() error {
	ctx := context.Background()
	reg, err := registry.Open(ctx, r.store, registry.Options{})
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if err := r.sweep(ctx, 25*time.Hour, 3*time.Hour); err != nil {
		return err
	}
	r.wantSound(ctx, reg, "after the uploads were swept")
	f, err := r.readFinal(ctx, reg)
	if err != nil {
		r.violated("check", "the bucket can't be read: %v", err)
		return nil
	}
	r.witness(f)
	if r.options.Linearizable {
		r.searchAll(f)
	}
	if err := r.sweep(ctx, 8*24*time.Hour, 3*time.Hour); err != nil {
		return err
	}
	r.wantSound(ctx, reg, "after the retention")
	r.wantNoGarbage(ctx, f)
	return reg.Close(ctx)
}

// sweep lets a collector pass after each of these times. It breaks the rule that all nodes
// of the run break.
func (r *run) sweep(ctx context.Context, waits ...time.Duration) error {
	bucket := blob.Bucket(r.store)
	if r.options.Mutant != nil {
		bucket = r.options.Mutant.door(bucket)
	}
	reg, err := registry.Open(ctx, bucket, registry.Options{})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	for _, wait := range waits {
		time.Sleep(wait)
		report, err := reg.Collect(behalf(ctx, "collector of the audit"), registry.CollectOptions{})
		if err != nil {
			r.violated("collect", "%v", err)
		}
		if report.Aliases > 0 {
			r.history.fate("alias taken back in the end")
		}
	}
	return reg.Close(ctx)
}

// wantSound runs the registry's own check over every byte.
func (r *run) wantSound(ctx context.Context, reg *registry.Registry, when string) {
	report, err := reg.Check(ctx, registry.CheckOptions{Digests: true})
	if err != nil {
		r.violated("check", "%s: %v", when, err)
		return
	}
	for _, p := range report.Problems {
		r.violated("check", "%s: %s %s", when, p.Key, p.Problem)
	}
	if report.Uploads != 0 {
		r.violated("garbage", "%s: %d uploads are left", when, report.Uploads)
	}
}

// readFinal reads all. A removed alias shows its history only when it is set again, so
// the auditor publishes a version and sets all aliases to it.
func (r *run) readFinal(ctx context.Context, reg *registry.Registry) (*final, error) {
	f := &final{
		versions: map[series][]*registry.Version{}, contents: map[series]map[registry.Number]string{},
		models: map[series]*registry.ModelInfo{}, aliases: map[aliasKey][]change{},
	}
	for _, s := range []series{fraud, spam, others} {
		v, err := r.lastVersion(ctx, reg, s)
		if err != nil {
			return nil, err
		}
		if f.models[s], err = reg.Model(ctx, s.tenant, s.model); err != nil {
			return nil, err
		}
		if f.versions[s], err = allVersions(ctx, reg, s); err != nil {
			return nil, err
		}
		f.contents[s] = map[registry.Number]string{}
		for _, v := range f.versions[s] {
			if v.State == registry.StateDeleted {
				continue
			}
			if f.contents[s][v.Version], err = readFile(ctx, reg, v); err != nil {
				return nil, err
			}
		}
		for _, alias := range []registry.Alias{"champion", "challenger"} {
			a, err := reg.SetAlias(ctx, s.tenant, s.model, alias, registry.AliasChange{To: v.Version, By: auditor})
			if err != nil {
				return nil, err
			}
			f.aliases[aliasKey{s, alias}] = changes(a)
		}
	}
	return f, nil
}

func (r *run) lastVersion(ctx context.Context, reg *registry.Registry, s series) (*registry.Version, error) {
	u, err := reg.Begin(ctx, registry.Publication{Tenant: s.tenant, Model: s.model, By: auditor})
	if err != nil {
		return nil, err
	}
	defer u.Abort()
	if _, err := u.File(ctx, "file-0", strings.NewReader(auditor), -1, ""); err != nil {
		return nil, err
	}
	return u.Commit(ctx, registry.Facts{})
}

func allVersions(ctx context.Context, reg *registry.Registry, s series) ([]*registry.Version, error) {
	var all []*registry.Version
	for q := (registry.VersionQuery{Limit: 1000, Deleted: true}); ; {
		page, err := reg.Versions(ctx, s.tenant, s.model, q)
		if err != nil {
			return nil, err
		}
		all = append(page.Versions, all...)
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	sorted := make([]*registry.Version, len(all))
	for _, v := range all {
		if int(v.Version) > len(all) || sorted[v.Version-1] != nil {
			return nil, fmt.Errorf("numbers of %s have a gap or are there twice: %d of %d", s, v.Version, len(all))
		}
		sorted[v.Version-1] = v
	}
	return sorted, nil
}

// changes are all states of an alias, the first one first; nil if not all are known.
func changes(a *registry.AliasInfo) []change {
	all := make([]change, a.Revision)
	all[a.Revision-1] = change{revision: a.Revision, version: a.Version, by: a.ChangedBy}
	if int64(len(a.History)) != a.Revision-1 {
		return nil
	}
	for _, h := range a.History {
		c := change{revision: h.Revision, by: h.By, takenBack: strings.HasPrefix(h.Note, "taken back")}
		if h.Version != nil {
			c.version = *h.Version
		}
		all[h.Revision-1] = c
	}
	return all
}

// wantNoGarbage looks at each object: of deleted versions only their metadata is left,
// and of what is under way nothing.
func (r *run) wantNoGarbage(ctx context.Context, f *final) {
	deleted := map[string]bool{} // folders
	for s, versions := range f.versions {
		for _, v := range versions {
			if v.State == registry.StateDeleted {
				deleted[s.String()+"/"+string(v.ID)+"/"] = true
			}
		}
	}
	for after := ""; ; {
		page, err := r.store.List(ctx, blob.ListOptions{StartAfter: after})
		if err != nil {
			r.violated("check", "%v", err)
			return
		}
		for _, o := range page.Objects {
			folder, name := o.Key[:strings.LastIndexByte(o.Key, '/')+1], o.Key[strings.LastIndexByte(o.Key, '/')+1:]
			if deleted[folder] && name != "metadata.json" {
				r.violated("garbage", "%s belongs to a deleted version", o.Key)
			}
			for _, passing := range []string{"/_uploads/", "/_trash/", "/_operations/", "_system/gc/", "_system/probe/"} {
				if strings.Contains(o.Key, passing) {
					r.violated("garbage", "%s is left", o.Key)
				}
			}
		}
		if after = page.Next; after == "" {
			return
		}
	}
}

// isOneOf tells whether err wraps one of these.
func isOneOf(err error, wants ...error) bool {
	for _, want := range wants {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}
