package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"modelbucket/blob"
	"modelbucket/registry/signature"
)

// Options of a registry; the zero value is ready for use.
type Options struct {
	// ReadOnly refuses every change with ErrReadOnly and writes nothing at Open.
	ReadOnly bool
	// MaxUpload bounds one file, in bytes (0: 10 GiB).
	MaxUpload int64
	// RequireSignature is the least that is asked of every tenant's versions: a signature
	// that is trusted.
	RequireSignature bool
	// Trust, unless it is nil, are the only keys that count here, whatever tenants name:
	// who can write in the bucket can name keys there.
	Trust *signature.Trust
	// Log gets what nobody is waiting for: cleanups that failed, and versions without a
	// trusted signature where a tenant wants to be warned. Nil discards it.
	Log *slog.Logger
	// Limits bound what a tenant may do that has no limits of its own (nil: nothing is).
	Limits Limits
	// OnConflict is called whenever a commit lost its number to another publisher.
	OnConflict func()
	// Now is the node's clock (nil: time.Now). It may be wrong; nothing is decided by it
	// but how long ago this node did something.
	Now func() time.Time
	// Random gives the bits of ids and pauses (nil: crypto/rand), to many at once.
	Random func() uint64
}

// DefaultMaxUpload bounds one file where Options say nothing, in bytes.
const DefaultMaxUpload = 10 << 30

// Registry is a bucket seen as tenants, models and versions. It is safe for
// concurrent use by any number of goroutines, and beside any number of others on
// other nodes. It keeps nothing in memory that could not be thrown away.
type Registry struct {
	machine
	bucket  blob.Bucket
	options Options
	log     *slog.Logger

	records  *lru[recordID, *record]  // immutable
	tops     *lru[series, Number]     // the newest numbers that were seen; others may add to them
	stored   *lru[recordID, *Version] // immutable facts, by number
	vouched  *lru[vouchedID, bool]    // files that a trusted key was seen to have signed
	limits   *lru[Tenant, known]      // what tenants may do
	accounts *lru[Tenant, *account]   // what they have
	turns    map[series]*turn         // models that are being published to, by mu
	mu       sync.Mutex               // guards turns
	after    *cleanups
	audit    *auditLog
	life     context.Context // over when the registry is closed
	end      context.CancelFunc
}

type recordID struct {
	series
	number Number
}

// Open makes a registry of a bucket: it reads the bucket's format, or writes it into
// an empty one, and refuses a format that it does not know.
func Open(ctx context.Context, bucket blob.Bucket, o Options) (*Registry, error) {
	if o.MaxUpload <= 0 {
		o.MaxUpload = DefaultMaxUpload
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = cryptoRandom
	}
	if o.OnConflict == nil {
		o.OnConflict = func() {}
	}
	r := &Registry{
		machine: machine{o.Now, o.Random}, bucket: &scoped{bucket, o.Log}, options: o, log: o.Log,
		records:  newLRU[recordID, *record](20_000),
		tops:     newLRU[series, Number](10_000),
		stored:   newSizedLRU[recordID](1_000, 32<<20, (*Version).Footprint),
		vouched:  newLRU[vouchedID, bool](10_000),
		limits:   newLRU[Tenant, known](10_000),
		accounts: newLRU[Tenant, *account](10_000),
		turns:    map[series]*turn{},
		after:    newCleanups(64),
	}
	r.audit = newAuditLog(r)
	r.life, r.end = context.WithCancel(context.Background())
	var format struct{} // its envelope says all
	_, err := r.read(ctx, formatKey, &format)
	if isNotFound(err) && !o.ReadOnly {
		var data, theirs []byte
		if data, err = seal(formatKey, format); err == nil {
			theirs, err = r.create(ctx, formatKey, data)
		}
		if theirs != nil {
			err = unseal(formatKey, theirs, &format)
		}
	}
	if err != nil && !isNotFound(err) {
		return nil, fmt.Errorf("open registry in %s: %w", bucket, err)
	}
	return r, nil
}

// Bucket is the store that the registry was opened on. Scopes hold there too.
func (r *Registry) Bucket() blob.Bucket { return r.bucket }

// Close writes what waits to be written to the audit log, waits for the cleanups that
// outlived their requests, and ends what only looks.
func (r *Registry) Close(ctx context.Context) error {
	r.end()
	if err := errors.Join(r.audit.close(ctx), r.after.wait(ctx)); err != nil {
		return fmt.Errorf("close registry: %w", err)
	}
	return nil
}

// afterwards runs f when the answer need not wait for it. The collector does what is
// left undone.
func (r *Registry) afterwards(ctx context.Context, what string, f func(context.Context) error) {
	ctx = context.WithoutCancel(ctx)
	r.after.begin(func() {
		ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
		defer cancel()
		if err := f(ctx); err != nil {
			r.log.Warn("left to the collector", "what", what, "err", err)
		}
	})
}

func (r *Registry) writable() error {
	if r.options.ReadOnly {
		return fmt.Errorf("%w: this node was started to read only", ErrReadOnly)
	}
	return nil
}
