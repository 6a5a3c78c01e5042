package registry

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"modelbucket/blob"
)

// The log of a model: its commit records, newest first, with their siblings.

func isNotFound(err error) bool { return errors.Is(err, blob.ErrNotFound) }

// sideBySide bounds the calls to the bucket that one request has under way.
const sideBySide = 16

// record reads commit record n. Records never change, so they are remembered.
func (r *Registry) record(ctx context.Context, s series, n Number) (*record, error) {
	id := recordID{s, n}
	if rec, ok := r.records.get(id); ok {
		return rec, nil
	}
	rec := new(record)
	if _, err := r.read(ctx, s.recordKey(n), rec); err != nil {
		return nil, err
	}
	return rec, r.remember(id, rec)
}

// remember keeps a record that was read, if it is the one that belongs there.
func (r *Registry) remember(id recordID, rec *record) error {
	key := id.recordKey(id.number)
	if rec.Version != id.number {
		return corrupt(key, "is the record of version %d", rec.Version)
	}
	if _, err := ParseID(string(rec.Folder)); err != nil {
		return corrupt(key, "names a folder that none of ours is")
	}
	r.records.put(id, rec)
	return nil
}

// recordRange reads the records from first to last, side by side.
func (r *Registry) recordRange(ctx context.Context, s series, first, last Number, each func(*record) error) error {
	for first <= last {
		batch := make([]*record, min(int(last-first+1), 4*sideBySide))
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(sideBySide)
		for i := range batch {
			g.Go(func() (err error) {
				batch[i], err = r.record(gctx, s, first+Number(i))
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("read the log of %s: %w", s, err)
		}
		for _, rec := range batch {
			if err := each(rec); err != nil {
				return err
			}
		}
		first += Number(len(batch))
	}
	return nil
}

// entry is what a listing shows of one number.
type entry struct {
	number    Number
	record    bool // always, but for a page that began in its midst
	deleted   bool
	described bool // has attributes
}

// logPage lists the numbers below before (0: all), newest first, from at most limit
// keys. complete is false when more follow. All keys of the numbers given stand in
// this one answer of the bucket: a number that the end of a page cut off is left out.
func (r *Registry) logPage(ctx context.Context, s series, before Number, limit int) (entries []entry, complete bool, err error) {
	o := blob.ListOptions{Prefix: s.versionsPrefix(), Limit: limit}
	if before > 0 {
		o.StartAfter = s.behind(before)
	}
	page, err := r.bucket.List(ctx, o)
	if err != nil {
		return nil, false, fmt.Errorf("list the log of %s: %w", s, err)
	}
	for _, object := range page.Objects {
		l := s.locate(object.Key)
		if l.number == 0 {
			continue // nothing of ours; check reports it
		}
		if len(entries) == 0 || entries[len(entries)-1].number != l.number {
			entries = append(entries, entry{number: l.number})
		}
		e := &entries[len(entries)-1]
		switch l.kind {
		case kindRecord:
			e.record = true
		case kindTombstone:
			e.deleted = true
		case kindAttributes:
			e.described = true
		}
	}
	complete = page.Next == ""
	if !complete && len(entries) > 0 {
		entries = entries[:len(entries)-1]
	}
	if !complete && len(entries) == 0 && limit == keysForPage {
		return nil, false, corrupt(s.versionsPrefix(), "holds so many objects that are not ours that the log can't be read")
	}
	return entries, complete, nil
}

const (
	keysForScan = 20   // where the newest is deleted
	keysForPage = 1000 // the most that a store gives
)

// top is the highest number that the log has, deleted or not; 0 when it is empty.
func (r *Registry) top(ctx context.Context, s series) (Number, error) {
	after := ""
	for limit := 1; ; limit = keysForPage {
		page, err := r.bucket.List(ctx, blob.ListOptions{Prefix: s.versionsPrefix(), StartAfter: after, Limit: limit})
		if err != nil {
			return 0, fmt.Errorf("list the log of %s: %w", s, err)
		}
		for _, o := range page.Objects {
			// Any key of a number proves it: siblings come after their record.
			if l := s.locate(o.Key); l.number > 0 {
				return l.number, nil
			}
		}
		if after = page.Next; after == "" {
			return 0, nil
		}
	}
}

// latest is the highest number that is not deleted, at one moment during the call; 0
// when there is none. read has the record of the answer, where it is the top, fetched
// on the way for a caller who goes on to ask for it.
//
// Reads of the bucket one after another are not one. The first answer holds when it
// is the very top (then it was the latest just before any deletion in between). Every
// other answer is read again in order, log first, and holds only if no number was
// added meanwhile and the version is still not deleted: a listing need not show one
// moment (a folder is read name by name), and so may show a later deletion and not an
// earlier one, or a later number and not the one before it.
//
// The top is one key: a store may have to read a whole folder for a second one. Its
// tombstone is looked for beside the listing where an earlier call gives a good guess.
func (r *Registry) latest(ctx context.Context, s series, read bool) (n Number, err error) {
	var body *modelBody
	var top Number
	var buried bool
	guess, guessed := r.tops.get(s)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { body, err = r.readModel(gctx, s); return err })
	g.Go(func() (err error) { top, err = r.top(gctx, s); return err })
	if guessed {
		g.Go(func() (err error) { buried, err = r.exists(gctx, s.tombstoneKey(guess)); return err })
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	if body == nil {
		return 0, fmt.Errorf("%s: %w", s, ErrModelNotFound)
	}
	if top > body.DeletedThrough {
		if top != guess {
			g, gctx := errgroup.WithContext(ctx)
			g.Go(func() (err error) { buried, err = r.exists(gctx, s.tombstoneKey(top)); return err })
			if read {
				g.Go(func() error {
					_, _ = r.record(gctx, s, top) // the caller meets the error again, if it asks
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				return 0, err
			}
			r.tops.put(s, top)
		}
		if !buried {
			return top, nil
		}
	}
	for range 20 {
		top, alive, err := r.scanLatest(ctx, s)
		if err != nil {
			return 0, err
		}
		var added, buried bool
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() (err error) { added, err = r.exists(gctx, s.recordKey(top+1)); return err })
		if alive > 0 {
			g.Go(func() (err error) { buried, err = r.exists(gctx, s.tombstoneKey(alive)); return err })
		}
		if err := g.Wait(); err != nil {
			return 0, err
		}
		if !added && !buried {
			return alive, nil
		}
	}
	return 0, fmt.Errorf("latest of %s: %w: others kept adding and deleting versions", s, ErrConflict)
}

// scanLatest walks the log down to the first number that is not deleted. top is the
// highest number of which it has seen all below: where numbers, which have no gaps, are
// missing between others, those were added while the listing was made.
func (r *Registry) scanLatest(ctx context.Context, s series) (top, alive Number, err error) {
	var before Number
	for limit := keysForScan; ; limit = keysForPage {
		page, complete, err := r.logPage(ctx, s, before, limit)
		if err != nil {
			return 0, 0, err
		}
		for _, e := range page {
			if e.number != before-1 { // the first, or below a gap
				top = e.number
			}
			before = e.number
			if e.deleted {
				continue
			}
			body, err := r.readModel(ctx, s)
			if err != nil {
				return 0, 0, err
			}
			if body != nil && e.number <= body.DeletedThrough {
				return top, 0, nil
			}
			return top, e.number, nil
		}
		if complete {
			return top, 0, nil
		}
	}
}

// readModel reads _model.json; nil when there is none.
func (r *Registry) readModel(ctx context.Context, s series) (*modelBody, error) {
	body, _, err := readMutable[modelBody](ctx, r, s.modelKey())
	if err == nil && body != nil && body.Folder != s.model {
		return nil, corrupt(s.modelKey(), "the model's keys lie in another folder: run a newer program")
	}
	return body, err
}

// state tells whether version n is there and not deleted. A version that is both
// found and alive was so at one moment during the call.
func (r *Registry) state(ctx context.Context, s series, n Number) (rec *record, deleted bool, err error) {
	var body *modelBody
	var buried bool
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { rec, err = r.record(gctx, s, n); return err })
	g.Go(func() (err error) { buried, err = r.exists(gctx, s.tombstoneKey(n)); return err })
	g.Go(func() (err error) { body, err = r.readModel(gctx, s); return err })
	if err := g.Wait(); err != nil {
		if isNotFound(err) {
			return nil, false, fmt.Errorf("%s:%d: %w", s, n, ErrVersionNotFound)
		}
		return nil, false, err
	}
	return rec, buried || body != nil && n <= body.DeletedThrough, nil
}
