package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// maxMetadata bounds metadata.json, in bytes.
const maxMetadata = 4 << 20

// Commit makes the uploaded files a version: it writes metadata.json and then the
// commit record, sets the aliases that the publication named, and returns the version.
// An error that is no ErrOutcomeUnknown means that nothing was saved; but for
// ErrSignatureRequired: the version is kept, no alias was set to it, and it is not served.
func (u *Upload) Commit(ctx context.Context, facts Facts) (v *Version, err error) {
	if err := u.usable(); err != nil {
		return nil, fmt.Errorf("commit %s: %w", u.s, err)
	}
	defer func() {
		u.end(err)
		u.Abort()
	}()
	err = ErrOutcomeUnknown // what a panic leaves
	return u.makeVersion(ctx, facts)
}

func (u *Upload) makeVersion(ctx context.Context, facts Facts) (*Version, error) {
	if len(u.files) == 0 && u.twin == nil {
		return nil, fmt.Errorf("commit %s: %w: a version needs at least one file", u.s, ErrInvalid)
	}
	slices.SortFunc(u.files, func(a, b storedFile) int { return strings.Compare(string(a.Name), string(b.Name)) })
	request, err := u.request()
	if err != nil {
		return nil, err
	}
	rec := u.twin
	if rec == nil {
		if rec, err = u.commit(ctx, facts, request); err != nil {
			return nil, fmt.Errorf("publish to %s: %w", u.s, err)
		}
	}
	if rec.RequestSHA256 != request {
		return nil, fmt.Errorf("publish to %s: %w: it made version %d; use a new key for other content", u.s, ErrIdempotencyMismatch, rec.Version)
	}
	info, err := u.judge(ctx, rec)
	if err != nil {
		return nil, u.saved(rec, err)
	}
	u.change.tell(func(a *AuditRecord) { a.Version, a.Repeat = rec.Version, rec.Folder != u.id })
	refusal := info.refusal(Ref{u.p.Tenant, u.p.Model, Selector{Number: rec.Version}})
	if !u.settled {
		err := refusal
		if err == nil {
			err = u.change.begun(ctx) // a repeat has not waited for it yet
		}
		if err == nil {
			err = u.setAliases(ctx, rec)
		}
		u.settle(ctx, rec, err == nil)
		if err != nil {
			return nil, err
		}
	}
	if refusal != nil {
		return nil, refusal
	}
	v, err := u.version(ctx, rec)
	if err != nil {
		return nil, u.saved(rec, err)
	}
	v.Signature = info
	return v, nil
}

// saved is the error of a publication that was saved, and of which the answer cannot be
// given.
func (u *Upload) saved(rec *record, err error) error {
	if errors.Is(err, ErrVersionDeleted) {
		return err
	}
	return &OutcomeUnknown{Key: u.p.Key, Err: fmt.Errorf("version %d is saved, and can't be read back: %w", rec.Version, err)}
}

// version is the answer to who published.
func (u *Upload) version(ctx context.Context, rec *record) (*Version, error) {
	if rec.Folder != u.id {
		return u.r.Version(ctx, Ref{u.p.Tenant, u.p.Model, Selector{Number: rec.Version}})
	}
	// Nobody has described it yet, and no alias can name it but those just set.
	v, err := u.r.immutable(ctx, u.s, rec.Version)
	if err == nil {
		v.Aliases = append(v.Aliases, u.p.Aliases...)
	}
	return v, err
}

// request digests what the request said, so that a repeat can be told from another
// request under the same key.
func (u *Upload) request() (string, error) {
	files := make([]File, len(u.files))
	for i, f := range u.files {
		files[i] = f.File
	}
	said := struct {
		Label        Label
		Description  string
		Tags         map[string]string
		Aliases      []Alias
		UserMetadata json.RawMessage
		Request      []byte
		Files        []File
	}{u.said.Label, u.said.Description, u.said.Tags, u.said.Aliases, u.said.UserMetadata, u.said.Request, files}
	if u.said.Request != nil {
		said.Files = nil
	}
	data, err := json.Marshal(said)
	if err != nil {
		return "", fmt.Errorf("%w: user_metadata: %w", ErrInvalid, err)
	}
	return hexSHA256(data), nil
}

// commit writes metadata.json and the record. It returns the record that stands for
// the operation: its own, or that of an earlier request with the same key.
func (u *Upload) commit(ctx context.Context, facts Facts, request string) (*record, error) {
	if err := u.sign(); err != nil {
		return nil, err
	}
	m := &metadata{
		Tenant: u.p.Tenant, Model: u.p.Model, ID: u.id, Label: u.p.Label,
		CreatedAt: u.r.stamp(), CreatedBy: u.p.By, Files: u.files, RestoredFrom: u.restoredFrom,
		Description: u.p.Description, Tags: u.p.Tags, UserMetadata: u.p.UserMetadata, Facts: facts,
	}
	if u.signature != nil {
		m.SignatureSHA256 = hexSHA256(u.signature)
	}
	key := u.s.metadataKey(u.id)
	data, err := seal(key, m)
	if err != nil {
		return nil, err
	}
	if len(data) > maxMetadata {
		return nil, fmt.Errorf("%w: the metadata has %d bytes, it may have %d", ErrTooLarge, len(data), maxMetadata)
	}
	if err := u.claim.reach(ctx, u.size+int64(len(data)+len(u.signature))); err != nil {
		return nil, err
	}
	if err := u.fence(ctx, ""); err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.r.put(gctx, key, data) })
	if u.signature != nil {
		g.Go(func() error { return u.r.put(gctx, u.s.signatureKey(u.id), u.signature) })
	}
	g.Go(func() error { return u.change.begun(gctx) })
	if u.first {
		g.Go(func() error { return u.r.ensureModel(gctx, u.s, u.p.By) })
	}
	if err := g.Wait(); err != nil {
		u.unclear = true
		return nil, err
	}
	if err := u.turn.acquire(ctx); err != nil {
		return nil, err
	}
	defer u.turn.release()
	rec := &record{
		Folder: u.id, MetadataSHA256: hexSHA256(data), Label: u.p.Label, Operation: u.operation,
		RequestSHA256: request, By: u.p.By, At: m.CreatedAt, Nonce: u.change.id(),
	}
	if err := u.win(ctx, rec); err != nil {
		return nil, err
	}
	if u.twin != nil {
		return u.twin, nil
	}
	u.r.stored.put(recordID{u.s, rec.Version}, versionOf(rec, m))
	return rec, nil
}

// win creates the record under the first free number, and sets rec.Version. Before
// each try it has read every record since the label and the key were free. A try that
// was sent goes on without the caller's context: an answer is owed.
func (u *Upload) win(ctx context.Context, rec *record) error {
	for losses := 0; ; losses++ {
		last := max(u.turn.seen(), u.scanned)
		if losses > 1 {
			top, err := u.r.top(ctx, u.s)
			if err != nil {
				return err
			}
			last = max(last, top)
		}
		if err := u.scan(ctx, last); err != nil || u.twin != nil {
			return err
		}
		if last == MaxNumber {
			return fmt.Errorf("%w: %s has all the %d versions that a model can have", ErrInvalid, u.s, MaxNumber)
		}
		if err := u.fence(ctx, ""); err != nil {
			return err
		}
		rec.Version = last + 1
		won, err := u.try(ctx, rec)
		if err != nil || won {
			return err
		}
		u.r.options.OnConflict()
	}
}

// try creates the record under its number. Lost means that another publisher has it
// for good, so that nothing of this try can land any more.
func (u *Upload) try(ctx context.Context, rec *record) (won bool, err error) {
	key := u.s.recordKey(rec.Version)
	data, err := seal(key, rec)
	if err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	ctx = context.WithoutCancel(ctx) // create and confirm have limits of their own
	u.committed = true
	theirs, err := u.r.create(ctx, key, data)
	switch {
	case errors.Is(err, errUndecided):
		return false, &OutcomeUnknown{Key: u.p.Key, Err: err}
	case err != nil:
		u.committed = false
		return false, err
	}
	u.turn.saw(rec.Version)
	if theirs != nil {
		u.committed = false
		winner := new(record)
		if unseal(key, theirs, winner) == nil {
			_ = u.r.remember(recordID{u.s, rec.Version}, winner) // else scan says what is wrong with it
		}
		return false, nil
	}
	u.r.records.put(recordID{u.s, rec.Version}, rec)
	return true, u.confirm(ctx, rec)
}

// confirm looks again at a commit that was answered so late that the collector may
// have taken the folder for abandoned, and be about to delete it. An intent that can
// still be renewed was not condemned: who condemns it later finds the record.
func (u *Upload) confirm(ctx context.Context, rec *record) error {
	if u.r.since(u.renewed) < lateCommit {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	err := u.fence(ctx, "")
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, ErrConflict) || errors.Is(err, ErrOutcomeUnknown):
		return &OutcomeUnknown{Key: u.p.Key, Err: err}
	}
	if err := u.r.bury(ctx, u.s, rec.Version, tombstone{Nonce: string(u.id), At: u.r.stamp(), By: u.p.By, Reason: "the upload stood still and was given up"}); err != nil {
		return &OutcomeUnknown{Key: u.p.Key, Err: err}
	}
	return fmt.Errorf("%w: the upload stood still for so long that it was given up; send it again", ErrConflict)
}

// scan reads the records from u.scanned to last. It ends with ErrLabelTaken when one
// carries the label, and sets twin when one carries the operation. Without a label, and
// with a key that was made for this upload alone, there is nothing to look for.
func (u *Upload) scan(ctx context.Context, last Number) error {
	if u.p.Label == "" && !u.given {
		u.scanned = max(u.scanned, last)
		return nil
	}
	err := u.r.recordRange(ctx, u.s, u.scanned+1, last, func(rec *record) error {
		switch {
		case u.twin != nil:
		case rec.Operation == u.operation:
			u.twin = rec
		case u.p.Label != "" && rec.Label == u.p.Label:
			return fmt.Errorf("%w: %s is the label of version %d of %s; labels are never given twice", ErrLabelTaken, rec.Label, rec.Version, u.s)
		}
		return nil
	})
	if err == nil {
		u.scanned = max(u.scanned, last)
	}
	return err
}

// settle writes down what the log says already: indexes, and the end of the intent. That
// of the key says, beyond the log, that the aliases are set: it is written if done.
func (u *Upload) settle(ctx context.Context, rec *record, done bool) {
	keys := []string{}
	if rec.Label != "" {
		keys = append(keys, u.s.labelKey(rec.Label))
	}
	if u.given && done {
		keys = append(keys, u.s.operationKey(u.operation))
	}
	own := rec.Folder == u.id
	u.r.afterwards(ctx, "indexes of "+u.s.String()+":"+rec.Version.String(), func(ctx context.Context) error {
		for _, key := range keys {
			if err := u.r.setIndex(ctx, key, index{Version: rec.Version}); err != nil {
				return err
			}
		}
		if !own {
			return nil // its publisher's, or the collector's
		}
		return u.r.bucket.Delete(ctx, u.s.intentKey(u.id))
	})
}

// setAliases moves the aliases that the publication named. A repeat moves none that
// the first request moved already: the change carries the version's id. Nor does it move
// one that has been moved so often since that this can't be told.
func (u *Upload) setAliases(ctx context.Context, rec *record) error {
	for _, alias := range u.p.Aliases {
		change := AliasChange{To: rec.Version, By: u.p.By, nonce: string(rec.Folder)}
		if rec.Folder != u.id {
			change.repeatOf = rec.At
		}
		if _, err := u.r.setAlias(ctx, u.p.Tenant, u.p.Model, alias, change); err != nil {
			if errors.Is(err, ErrVersionDeleted) {
				return err
			}
			return &OutcomeUnknown{Key: u.p.Key, Err: fmt.Errorf("version %d is saved, alias %s is not set: %w", rec.Version, alias, err)}
		}
	}
	return nil
}
