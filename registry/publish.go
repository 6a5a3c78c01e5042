package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"modelbucket/blob"
	"modelbucket/registry/signature"
)

// Publication says what is about to be published, before its files are known.
type Publication struct {
	Tenant       Tenant
	Model        Model
	Label        Label  // "": none
	Key          string // idempotency key; "": one is made
	By           string
	Aliases      []Alias // set once the version is there
	Description  string
	Tags         map[string]string
	UserMetadata json.RawMessage
	Size         int64 // of all files, in bytes, as far as it is known; see LimitStoredBytes
	// Request is what identifies the request when its key is used again. Nil: name,
	// size and SHA-256 of each file do.
	Request []byte
	// Signer, unless it is nil, signs the files where no signature comes with them.
	Signer *signature.Signer

	from string // of a copy
}

// The limits of what a publication says of itself, in bytes unless said otherwise.
const (
	maxUserMetadata = 1 << 20
	maxKey          = 256
	maxAliases      = 100 // names; a model has at most aliasesOfModel
)

func (p Publication) check() error {
	if len(p.UserMetadata) > maxUserMetadata {
		return fmt.Errorf("%w: user_metadata has %d bytes, it may have %d", ErrTooLarge, len(p.UserMetadata), maxUserMetadata)
	}
	if len(p.UserMetadata) > 0 && !json.Valid(p.UserMetadata) {
		return fmt.Errorf("%w: user_metadata is not JSON", ErrInvalid)
	}
	if len(p.Key) > maxKey {
		return fmt.Errorf("%w: the idempotency key has %d bytes, it may have %d", ErrInvalid, len(p.Key), maxKey)
	}
	if len(p.Aliases) > maxAliases {
		return fmt.Errorf("%w: there are %d aliases, a version may be given %d with its publication", ErrInvalid, len(p.Aliases), maxAliases)
	}
	return checkAttributes(p.Description, p.Tags)
}

// intent is the body of _uploads/<folder>.json: the promise that a folder without a
// commit record is somebody's work under way, until the collector condemns it.
type intent struct {
	revisions
	Folder ID        `json:"folder"`
	State  string    `json:"state"` // open, condemned
	Sweep  Number    `json:"none_through"`
	Large  []string  `json:"large,omitempty"` // files sent in parts: their uploads may need aborting
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

const (
	intentOpen      = "open"
	intentCondemned = "condemned"
)

// The fence: a write of an upload goes out only within fenceLimit of a renewal of its
// intent, and the collector needs far longer from condemning it to deleting.
const (
	fenceLimit     = 5 * time.Minute
	lateCommit     = time.Hour        // a commit answered later than this is looked at again
	createTimeout  = 15 * time.Second // for one create to be decided
	cleanupTimeout = time.Minute
)

// Upload is one version on its way. Call File for each file, then Commit; and Abort in
// any case, which does nothing after Commit.
type Upload struct {
	r    *Registry
	p    Publication
	said Publication // p as it was given: what identifies the request
	s    series

	id        ID
	operation string // SHA-256 of the idempotency key
	given     bool   // … which the caller gave
	settled   bool   // … and whose index says that nothing is left to be done
	first     bool   // the log was empty: the model may be a new one
	scanned   Number // no record up to here carries the label or the operation
	intent    *intent
	renewed   time.Time
	twin      *record // an earlier request with the same key was committed
	replayed  bool    // … before this one began

	restoredFrom string // ref of the version that is copied

	files     []storedFile
	size      int64      // of these
	signature []byte     // nil: none
	asked     signatures // what the tenant asks of them
	claim     *claim     // on the tenant's quota
	change    *change    // in the audit log
	committed bool       // a commit was sent: only the collector may clean up
	unclear   bool       // a write's fate is not known: the same, and nothing more can be done
	over      bool
	turn      *turn
}

// madeKey is the form of idempotency keys that the registry makes: the number tells
// how far the log had been read, so that a repeat finds the first try without an index.
var madeKey = regexp.MustCompile(`^retry-([0-9]{1,9})-[0-9a-f-]{36}$`)

// Begin opens an upload: it finds out where the log ends, that the label is free, and
// whether the key was used before, and leaves the intent.
func (r *Registry) Begin(ctx context.Context, p Publication) (*Upload, error) {
	if err := r.writable(); err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	c := r.intend(ctx, p.audit())
	u, err := r.begin(ctx, p)
	if err != nil {
		c.end(err)
		return nil, err
	}
	u.change = c
	return u, nil
}

// audit is what the audit log says of a publication.
func (p Publication) audit() AuditRecord {
	a := AuditRecord{Action: AuditPublish, Tenant: p.Tenant, Model: p.Model, Label: p.Label, Aliases: p.Aliases, From: p.from}
	if p.from != "" {
		a.Action = AuditCopy
	}
	return a
}

func (r *Registry) begin(ctx context.Context, p Publication) (*Upload, error) {
	u := &Upload{r: r, p: p, said: p, s: series{p.Tenant, p.Model}, given: p.Key != ""}
	if !u.given { // else it may be there already, and takes nothing
		var err error
		if u.claim, err = r.claim(ctx, p.Tenant, p.Size); err != nil {
			return nil, fmt.Errorf("begin %s: %w", u.s, err)
		}
	}
	u.turn = r.takeTurn(u.s)
	opened := false
	defer func() {
		if !opened {
			u.Abort()
		}
	}()
	last, err := u.lowerBound(ctx)
	if err != nil {
		return nil, err
	}
	if !u.given {
		u.p.Key = fmt.Sprintf("retry-%d-%s", last, r.newID())
	}
	u.operation, u.scanned, u.first = operationName(u.p.Key), last, last == 0
	name := string(p.Label)
	if name == "" {
		name = r.stamp().Format("20060102T150405Z")
	}
	u.id = ID(name + "." + r.newID())

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.open(gctx, last) })
	g.Go(func() (err error) { u.asked, err = r.signatures(gctx, p.Tenant); return err })
	label, key := index{NoneThrough: last}, index{NoneThrough: last}
	if p.Label != "" {
		g.Go(func() (err error) {
			label, _, err = r.anchor(gctx, u.s.labelKey(p.Label), label)
			return err
		})
	}
	if u.given {
		g.Go(func() (err error) {
			key, err = u.anchorKey(gctx, key)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("begin %s: %w", u.s, err)
	}
	for _, found := range []index{label, key} {
		u.turn.saw(found.Version)
		u.scanned = min(u.scanned, found.free())
	}
	u.settled = key.Version > 0
	if err := u.scan(ctx, max(last, u.turn.seen())); err != nil {
		return nil, err
	}
	u.replayed = u.twin != nil
	if u.given && !u.replayed {
		if u.claim, err = r.claim(ctx, p.Tenant, p.Size); err != nil {
			return nil, fmt.Errorf("begin %s: %w", u.s, err)
		}
	}
	opened = true
	return u, nil
}

// anchorKey anchors the idempotency key. What an earlier try left is renewed, so that it
// outlives this one.
func (u *Upload) anchorKey(ctx context.Context, bound index) (index, error) {
	if m := madeKey.FindStringSubmatch(u.p.Key); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			bound.NoneThrough = min(bound.NoneThrough, Number(n))
		}
	}
	key := u.s.operationKey(u.operation)
	found, earlier, err := u.r.anchor(ctx, key, bound)
	if err != nil || !earlier || found.Version > 0 {
		return found, err
	}
	renewed, err := update(ctx, u.r, key, "", func(old *index) (*index, error) {
		next := index{NoneThrough: found.NoneThrough}
		if old != nil {
			next = *old
		}
		return &next, nil
	})
	if err != nil {
		return index{}, err
	}
	return *renewed, nil
}

// lowerBound is a number that the log has for certain: what the node saw last while
// others here publish too, else the log's end.
func (u *Upload) lowerBound(ctx context.Context) (Number, error) {
	if n := u.turn.seen(); n > 0 {
		return n, nil
	}
	n, err := u.r.top(ctx, u.s)
	if err == nil {
		u.turn.saw(n)
	}
	return n, err
}

// open leaves the intent. Its answer must be certain: without it nobody would ever
// collect the folder.
func (u *Upload) open(ctx context.Context, last Number) error {
	sent := u.r.now()
	body := &intent{Folder: u.id, State: intentOpen, Sweep: last, By: u.p.By, At: u.r.stamp()}
	body.add(uuid.NewString())
	data, err := seal(u.s.intentKey(u.id), body)
	if err != nil {
		return err
	}
	theirs, err := u.r.create(ctx, u.s.intentKey(u.id), data)
	if err != nil {
		return err
	}
	if theirs != nil {
		return corrupt(u.s.intentKey(u.id), "is there already under a name that was made just now")
	}
	u.intent, u.renewed = body, sent
	return nil
}

// fence renews the intent when the last renewal is old, or when large names a file
// that is about to be sent in parts. A write may follow only if it returns nil.
func (u *Upload) fence(ctx context.Context, large string) error {
	if u.r.since(u.renewed) < fenceLimit && large == "" {
		return nil
	}
	sent := u.r.now()
	_, err := update(ctx, u.r, u.s.intentKey(u.id), "", func(old *intent) (*intent, error) {
		if old == nil || old.State != intentOpen {
			return nil, fmt.Errorf("%w: the upload %s stood still for so long that it was given up; send it again", ErrConflict, u.id)
		}
		next := *old
		next.Large = slices.Clone(old.Large)
		if large != "" {
			next.Large = append(next.Large, large)
		}
		return &next, nil
	})
	if err == nil {
		u.renewed = sent
	}
	return err
}

// Replayed tells whether the key was used before: then files are only digested, and
// Commit returns the version of the first request if this one says the same.
func (u *Upload) Replayed() bool { return u.replayed }

// Key is the idempotency key in force: the caller's, or the one that was made.
func (u *Upload) Key() string { return u.p.Key }

// File streams one file in and digests it on the way. size is its length in bytes, or
// −1 when it is not known. want is the SHA-256 that the sender declared, in hex, or "".
func (u *Upload) File(ctx context.Context, name FileName, body io.Reader, size int64, want string) (File, error) {
	if err := u.usable(); err != nil {
		return File{}, err
	}
	if err := u.admits(name, size); err != nil {
		return File{}, err
	}
	if err := u.claim.reach(ctx, u.size+max(size, 0)); err != nil {
		return File{}, fmt.Errorf("upload %s: %w", name, err)
	}
	h := &hashingReader{body: body, limit: u.r.options.MaxUpload, piece: pieceSize(max(size, u.r.options.MaxUpload))}
	h.before = func() error {
		if err := u.claim.reach(ctx, u.size+h.size); err != nil {
			return err
		}
		return u.fence(ctx, "")
	}
	if u.replayed {
		h.before = func() error { return ctx.Err() }
	}
	h.done = func(got int64, sum string) error {
		switch {
		case size >= 0 && got != size:
			return fmt.Errorf("%w: %s was announced with %d bytes and has %d", ErrInvalid, name, size, got)
		case want != "" && !strings.EqualFold(want, sum):
			return fmt.Errorf("%w: %s arrived with SHA-256 %s, declared was %s: send it again", ErrDigestMismatch, name, sum, want)
		}
		return h.before()
	}
	if err := u.store(ctx, name, h, size); err != nil {
		switch {
		case h.err != nil && h.err != io.EOF:
			err = h.err // what the body said, not what the store made of it
		case errors.Is(err, blob.ErrInvalidKey): // nothing was sent
			err = fmt.Errorf("%w: together with its tenant, model and label the file name is longer than the store can keep", ErrBadName)
		case errors.Is(err, blob.ErrSize):
			err = fmt.Errorf("%w: it was announced with %d bytes: %w", ErrInvalid, size, err)
		default:
			u.unclear = true
		}
		return File{}, fmt.Errorf("upload %s: %w", name, err)
	}
	f := h.stored(name)
	u.files = append(u.files, f)
	u.size += f.Size
	return f.File, nil
}

func (u *Upload) store(ctx context.Context, name FileName, body io.Reader, size int64) error {
	if u.replayed {
		_, err := io.Copy(io.Discard, body)
		return err
	}
	if size < 0 || size > minPiece {
		if err := u.fence(ctx, string(name)); err != nil {
			return err
		}
	}
	_, err := u.r.bucket.Put(ctx, u.s.fileKey(u.id, name), body, blob.PutOptions{Size: size})
	return err
}

// usable refuses to go on with an upload that is over, or of which a write may still be
// on its way: it could land on what is sent now.
func (u *Upload) usable() error {
	switch {
	case u.over:
		return fmt.Errorf("%w: the upload is over", ErrInvalid)
	case u.unclear:
		return fmt.Errorf("%w: a file of the upload %s did not arrive for certain; begin a new one", ErrInvalid, u.id)
	}
	return nil
}

const maxFiles = 256

// admits refuses a file that the version can't hold, before its first byte is read.
func (u *Upload) admits(name FileName, size int64) error {
	if size > u.r.options.MaxUpload {
		return fmt.Errorf("%w: %s has %d bytes, one file may have %d here", ErrTooLarge, name, size, u.r.options.MaxUpload)
	}
	if len(u.files) == maxFiles {
		return fmt.Errorf("%w: a version has at most %d files", ErrInvalid, maxFiles)
	}
	for _, f := range u.files {
		a, b := string(f.Name), string(name)
		if a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/") {
			return fmt.Errorf("%w: %s and %s can't both be files of one version", ErrInvalid, f.Name, name)
		}
	}
	return nil
}

// errGivenUp ends an upload whose caller did not come to the commit.
var errGivenUp = fmt.Errorf("%w: the upload was given up", ErrInvalid)

// end writes down, once, what came of the upload.
func (u *Upload) end(err error) {
	u.change.end(err)
	u.change = nil
}

// Abort drops what was uploaded, unless a commit was sent: from then on only the
// collector may judge. It also has the last look at a folder in which something was
// written: a write that the bucket's client repeated may land once more.
func (u *Upload) Abort() {
	if u.over {
		return
	}
	u.over = true
	u.end(errGivenUp)
	u.claim.settle(u.committed)
	u.r.leaveTurn(u.s, u.turn)
	if u.committed || u.unclear || u.intent == nil {
		return
	}
	files, signed := u.files, u.signature != nil
	if u.replayed {
		files = nil // they were only digested
	}
	u.r.afterwards(WithScope(context.Background(), u.p.Tenant), "upload "+string(u.id), func(ctx context.Context) error {
		for _, f := range files {
			if err := u.r.bucket.Delete(ctx, u.s.fileKey(u.id, f.Name)); err != nil {
				return err
			}
		}
		if len(files) > 0 {
			if signed {
				if err := u.r.bucket.Delete(ctx, u.s.signatureKey(u.id)); err != nil {
					return err
				}
			}
			return u.r.bucket.Delete(ctx, u.s.metadataKey(u.id))
		}
		return u.r.bucket.Delete(ctx, u.s.intentKey(u.id))
	})
}
