package registry

import (
	"context"
	"fmt"
	"slices"

	"modelbucket/blob"
)

// What the collector does about deleted versions: see collect.go for its other work.

// trash takes back the aliases that name deleted versions, and deletes the files of
// versions that were deleted longer than the retention ago. Records and metadata.json
// stay. Only versions of which a deletion left word are looked at: as word is left
// before anything is deleted, and goes last, there are no others.
func (c *collector) trash(ctx context.Context, s series) error {
	words, err := c.words(ctx, s)
	if err != nil || len(words) == 0 {
		return err
	}
	sound := len(c.damage)
	if err := c.aliases(ctx, s, words); err != nil {
		return err
	}
	for _, o := range words {
		if !c.old(o.Object, c.o.Retention) {
			continue
		}
		done, err := c.deletedFiles(ctx, s, o.location)
		if err != nil {
			return err
		}
		// A damaged alias may name one of them, and be brought back.
		if done && len(c.damage) == sound && c.old(o.Object, shortestConfirm) {
			if err := c.delete(ctx, o.Object); err != nil {
				return err
			}
		}
	}
	return nil
}

// word is an object that says which versions were to be deleted.
type word struct {
	blob.Object
	location
}

// covers tells whether the word is of version n.
func (l location) covers(n Number) bool { return l.number <= n && n <= l.last }

func (c *collector) words(ctx context.Context, s series) (words []word, err error) {
	err = c.r.each(ctx, s.trashPrefix(), func(o blob.Object) error {
		if l := s.locate(o.Key); l.kind == kindTrash {
			words = append(words, word{o, l})
		}
		return nil
	})
	return words, err
}

// aliases takes back each alias that names a deleted version: its setter and who deleted
// the version saw each other, and the one who was to act on it did not. It is safe beside
// both, as it swaps only the very state in which it found the alias, and a version that
// is deleted stays so.
func (c *collector) aliases(ctx context.Context, s series, words []word) error {
	names, err := c.r.aliasNames(ctx, s)
	if err != nil {
		return err
	}
	for _, a := range names {
		if err := c.skip(c.alias(ctx, s, a, words)); err != nil {
			return fmt.Errorf("alias %s: %w", a, err)
		}
	}
	return nil
}

func (c *collector) alias(ctx context.Context, s series, a Alias, words []word) error {
	body, _, err := readMutable[aliasBody](ctx, c.r, s.aliasKey(a))
	if err != nil || body == nil || !slices.ContainsFunc(words, func(w word) bool { return w.covers(body.Version) }) {
		return err
	}
	_, deleted, err := c.r.state(ctx, s, body.Version)
	if err != nil || !deleted {
		return err
	}
	done := c.o.DryRun
	if !done {
		done, err = c.r.takeBack(ctx, s, a, body, collectorName, fmt.Sprintf("taken back by the collector: version %d is deleted", body.Version))
	}
	if done {
		c.report.Aliases++
	}
	return err
}

// collectorName is who changed an alias, where no caller did.
const collectorName = "collector"

// deletedFiles deletes the files of the deleted ones among versions of which there is old
// word. done is false if the same word was left anew.
func (c *collector) deletedFiles(ctx context.Context, s series, l location) (done bool, err error) {
	var gone []*record
	for n := l.number; n <= l.last; n++ {
		rec, deleted, err := c.r.state(ctx, s, n)
		if err != nil {
			return false, err
		}
		if deleted { // else that deletion did not come to pass
			gone = append(gone, rec)
		}
	}
	// Word of a deletion is left before it is done. So if one of these came to pass
	// just now, and not when this word was left, there is younger word of it.
	young, err := c.words(ctx, s)
	if err != nil {
		return false, err
	}
	young = slices.DeleteFunc(young, func(w word) bool { return c.old(w.Object, c.o.Retention) })
	for _, rec := range gone {
		if slices.ContainsFunc(young, func(w word) bool { return w.covers(rec.Version) }) {
			continue
		}
		before := c.report.Objects
		if err := c.folder(ctx, s, rec.Folder, []string{s.metadataKey(rec.Folder)}); err != nil {
			return false, err
		}
		if c.report.Objects > before { // else an earlier pass did it
			c.report.Versions++
		}
	}
	return !slices.ContainsFunc(young, func(w word) bool { return w.location == l }), nil
}
