package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"modelbucket/blob"
)

// found is what a listing of a whole model shows.
type found struct {
	s       series
	top     Number
	records map[Number]bool
	folders map[ID]map[string]blob.Object
	labels  map[Label]bool
	intents map[ID]bool
	others  []location // all else
	keys    []string   // of others
	unread  int        // records that are damaged or missing
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
			return c.stray(ctx, o.Key, "is no object of ours")
		case kindRecord:
			f.records[l.number] = true
			f.top = max(f.top, l.number)
		case kindIntent:
			f.intents[l.id] = true
			f.others, f.keys = append(f.others, l), append(f.keys, o.Key)
		case kindFile, kindMetadata, kindSignature:
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

// unclaimed are the folders of no version so far, and of no upload under way.
func (f *found) unclaimed() []ID {
	folders := slices.Sorted(maps.Keys(f.folders))
	return slices.DeleteFunc(folders, func(id ID) bool { return f.intents[id] })
}

func (c *checker) model(ctx context.Context, s series) error {
	f, err := c.survey(ctx, s)
	if err != nil {
		return err
	}
	c.report.Models++
	c.report.Uploads += len(f.intents)
	body, err := c.r.readModel(ctx, s)
	if err != nil {
		if err := c.damage(s.modelKey(), err); err != nil {
			return err
		}
	} else if body == nil && f.top > 0 {
		c.problem(s.modelKey(), "is missing, and the model has versions")
	}
	buried := map[Number]bool{}
	for _, l := range f.others {
		if l.kind == kindTombstone {
			buried[l.number] = true
		}
	}
	versions := func(first, last Number) error {
		folders := make([]ID, last-first+1)
		err := c.sideBySide(ctx, len(folders), func(ctx context.Context, c *checker, i int) (err error) {
			n := first + Number(i)
			deleted := buried[n] || body != nil && n <= body.DeletedThrough
			folders[i], err = c.version(ctx, f, n, deleted)
			return err
		})
		for _, id := range folders {
			if id == "" {
				f.unread++
			}
			delete(f.folders, id)
		}
		return err
	}
	for first := Number(1); first <= f.top; first += keysForPage {
		if err := versions(first, min(first+keysForPage-1, f.top)); err != nil {
			return err
		}
	}
	// A folder that is left over may be of a version that the listing did not show.
	for n := f.top + 1; len(f.unclaimed()) > 0; n++ {
		more, err := c.there(ctx, s.recordKey(n))
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := versions(n, n); err != nil {
			return err
		}
	}
	err = c.sideBySide(ctx, len(f.others), func(ctx context.Context, c *checker, i int) error {
		return c.damage(f.keys[i], c.other(ctx, f, f.others[i], f.keys[i]))
	})
	if err != nil {
		return err
	}
	for _, id := range f.unclaimed() {
		begun, err := c.there(ctx, s.intentKey(id))
		switch {
		case err != nil || begun:
		case f.unread > 0:
			c.problem(s.folder(id), "belongs to no version that can be read, and to no upload under way: it may be that of a record which is damaged")
		default:
			err = c.stray(ctx, s.folder(id), "belongs to no version and to no upload under way")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// version checks one record and what it names, and returns the name of its folder; "" if
// the record can't be read.
func (c *checker) version(ctx context.Context, f *found, n Number, deleted bool) (ID, error) {
	key := f.s.recordKey(n)
	rec := new(record)
	if _, err := c.r.read(ctx, key, rec); isNotFound(err) {
		c.problem(key, "is missing: numbers have no gaps")
		return "", nil
	} else if err != nil {
		return "", c.damage(key, err)
	}
	m, err := c.r.readMetadata(ctx, f.s, rec)
	if err != nil {
		return rec.Folder, c.damage(f.s.metadataKey(rec.Folder), err)
	}
	if rec.Label != m.Label {
		c.problem(key, "has label %q, its metadata has %q", rec.Label, m.Label)
	}
	if rec.Label != "" && !f.labels[rec.Label] {
		there, err := c.there(ctx, f.s.labelKey(rec.Label))
		if err != nil {
			return rec.Folder, err
		}
		if !there {
			c.problem(f.s.labelKey(rec.Label), "is missing, and version %d has this label", n)
		}
	}
	if deleted {
		c.report.Deleted++
	} else {
		c.report.Versions++
	}
	return rec.Folder, c.files(ctx, f.s, rec, m, maps.Clone(f.folders[rec.Folder]), deleted)
}

// files holds what lies in a version's folder against its metadata. Files of a deleted
// version go, or are gone; those that are left can be restored, so they must be right.
func (c *checker) files(ctx context.Context, s series, rec *record, m *metadata, objects map[string]blob.Object, deleted bool) error {
	delete(objects, s.metadataKey(m.ID))
	_, signed := objects[s.signatureKey(m.ID)]
	delete(objects, s.signatureKey(m.ID))
	if !deleted && (signed || m.SignatureSHA256 != "") {
		if err := c.signature(ctx, versionOf(rec, m)); err != nil {
			return err
		}
	}
	for _, file := range m.Files {
		key := s.fileKey(m.ID, file.Name)
		o, ok := objects[key]
		delete(objects, key)
		if !ok && !deleted || ok && o.Size != file.Size { // the listing's word is not enough
			var err error
			if o, err = c.r.bucket.Stat(ctx, key); err != nil && !isNotFound(err) {
				return fmt.Errorf("look at %s: %w", key, err)
			}
			if ok = err == nil; !ok && !deleted { // gone just now?
				if _, deleted, err = c.r.state(ctx, s, rec.Version); err != nil {
					return err
				}
			}
		}
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
		if err := c.stray(ctx, key, "lies in the folder of version %d, whose metadata does not name it", rec.Version); err != nil {
			return err
		}
	}
	return nil
}

// other checks an object beside the records.
func (c *checker) other(ctx context.Context, f *found, l location, key string) error {
	switch l.kind {
	case kindAttributes, kindTombstone:
		if !f.records[l.number] {
			there, err := c.there(ctx, f.s.recordKey(l.number))
			if err != nil {
				return err
			}
			if !there {
				c.problem(key, "belongs to version %d, which does not exist", l.number)
				return nil
			}
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
		return c.passing(ctx, key, new(index))
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

// signature reports a signature that is damaged or missing.
func (c *checker) signature(ctx context.Context, v *Version) error {
	asked, err := c.r.signatures(ctx, v.Tenant)
	if errors.Is(err, ErrCorrupt) { // reported with the tenant
		asked, err = signatures{}, nil
	}
	if err != nil {
		return err
	}
	_, wrong, err := c.r.inspectSignature(ctx, v, asked)
	if err == nil && wrong != "" { // gone just now, with its version?
		var deleted bool
		if _, deleted, err = c.r.state(ctx, v.series(), v.Version); err == nil && !deleted {
			c.problem(v.series().signatureKey(v.ID), "%s", wrong)
		}
	}
	return err
}
