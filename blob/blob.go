// Package blob is the door to the store: objects under string keys, and the two
// conditions on which the registry stands (create-once and compare-and-swap).
//
// Bucket has three drivers (S3, Dir, Memory) and a few decorators with the same
// interface (Retry, Observe, WithPrefix). All pass one acceptance suite, blobtest.Run:
// what that suite does not check is not promised. Keys are opaque here; who may
// use which key is the registry's business. Open makes a Bucket of a store URL.
//
// # Stores
//
// The suite runs against these on every change (MinIO: in CI):
//
//	Memory                                       all of the contract
//	Dir on a local disk that tells cases apart   all, across processes of one host
//	versitygw 1.8.0 (posix)                      all; after a user was removed, Stat says that nothing is there
//	MinIO 2026-02-12 (single drive)              all
//
// Amazon S3 promises the same in its documentation: create-once and compare-and-swap
// with PUT, reads and listings that see all writes before them, bytewise order. It is
// no part of these tests; Probe looks at it whenever it is opened.
//
// Known not to do: Garage (conditions are ignored), versitygw up to 1.7 (two creators
// may both win), S3 Express One Zone (listings have no order), network file systems
// under Dir. Probe refuses the first three. What differs between the servers that do is
// seen to here or left out of the contract: conditions on multipart uploads, copies and
// deletes, "If-Match: *", an object whose key is the folder of another's, and a missing
// bucket in Stat (ErrNotFound, as a HEAD has no body that could say more).
package blob

import (
	"context"
	"errors"
	"io"
	"time"
)

// Every error of a Bucket wraps one of these or a context's error.
var (
	// ErrNotFound: no object has this key. Also the answer to IfMatch on an absent key.
	ErrNotFound = errors.New("object not found")
	// ErrPrecondition: the store decided that the condition does not hold. After a
	// retry it may be one's own earlier write that made it so: read the key to know.
	ErrPrecondition = errors.New("precondition failed")
	// ErrUnavailable: the store did not answer, or answered that it can't now. After
	// Put and Delete this means "unknown": the change may have happened, or happen yet.
	ErrUnavailable = errors.New("store unavailable")
	// ErrNotSent comes with ErrUnavailable where the store was not reached at all, so
	// that nothing can have changed.
	ErrNotSent = errors.New("not sent")
	// ErrDenied: the store refused the credentials, or they lack a right.
	ErrDenied = errors.New("store denied access")
	// ErrNoBucket: the bucket or the folder itself is missing.
	ErrNoBucket = errors.New("bucket not found")
	// ErrFull: the store has no room. Nothing was stored.
	ErrFull = errors.New("store is full")
	// ErrInvalidKey: a key or option that no store may be asked for.
	ErrInvalidKey = errors.New("invalid key")
	// ErrRange: the range begins beyond the object's end.
	ErrRange = errors.New("range not satisfiable")
	// ErrStoreURL: no store can be meant by this text.
	ErrStoreURL = errors.New("store URL not understood")
	// ErrBroken: the store does not keep one of the promises that it was probed for.
	ErrBroken = errors.New("store does not keep its word")
	// ErrSize: the body is not as long as was said. Nothing was stored.
	ErrSize = errors.New("body has another size")
)

// Bucket is a flat set of objects with bytewise ordered keys.
//
// Keys are valid UTF-8 of 1 to 1024 bytes, segments of 1 to 254 bytes separated by
// "/", none of them "." or "..", without control bytes or backslash; anything else is
// ErrInvalidKey before the store is asked. All methods are safe for concurrent use. A
// context that is already over changes nothing: the call returns its error and the
// store is not asked.
type Bucket interface {
	// Get opens an object, or the part of it that r names. The caller closes the
	// reader. The Object describes the whole object, also for a part. A body that
	// ends early is an io.ErrUnexpectedEOF (or ErrUnavailable), never a clean end.
	// The bytes are not verified: that is for who knows their digest.
	Get(ctx context.Context, key string, r Range) (io.ReadCloser, Object, error)

	// Stat describes an object.
	Stat(ctx context.Context, key string) (Object, error)

	// List returns one page of keys in bytewise order. It sees every Put and Delete
	// that was answered before it was called.
	List(ctx context.Context, o ListOptions) (Page, error)

	// Put stores an object whole or not at all, and is durable when it returns. A
	// condition (IfAbsent or IfMatch) needs a known size of at most MaxConditional
	// bytes. Put reads body to its end, and returns body's own error if that fails:
	// then nothing was stored.
	Put(ctx context.Context, key string, body io.Reader, o PutOptions) (Object, error)

	// Delete removes an object; one that is absent is removed already (nil).
	Delete(ctx context.Context, key string) error

	// AbortUploads drops what unfinished uploads of this very key left in the store.
	AbortUploads(ctx context.Context, key string) error

	// String names the store for people, without credentials.
	String() string
}

// MaxConditional is the largest body that a conditional Put takes, in bytes.
const MaxConditional = 1 << 20

// Range is a part of an object, in bytes. The zero value is all of it. Length 0
// means up to the end; a Length beyond the end is cut there. An Offset at or beyond
// the end of a non-empty object is ErrRange; of an empty one, Offset 0 is all of it.
type Range struct{ Offset, Length int64 }

// PutOptions say what is stored and on which condition. Size is the body's length in
// bytes, or -1 where it is unknown: a Size that proves wrong stores nothing.
type PutOptions struct {
	Size     int64
	IfAbsent bool   // create once: ErrPrecondition if the key exists
	IfMatch  string // compare and swap: ErrPrecondition if the ETag differs, ErrNotFound if there is none
}

// Object describes one stored object. ETag changes whenever the content does; it is
// empty in listings. Modified is the store's own clock, and may be zero in Put's answer.
type Object struct {
	Key      string
	Size     int64
	ETag     string
	Modified time.Time
}

// ListOptions choose a page: keys that begin with Prefix and sort after StartAfter, at
// most Limit entries (0: 1000, never more than 1000). With Delimiter "/" the keys that
// have one behind the Prefix are folded into their common prefixes; the one in which
// StartAfter lies is left out.
type ListOptions struct {
	Prefix, StartAfter, Delimiter string
	Limit                         int
}

// Page is an answer of List. Objects and Prefixes are each in bytewise order and
// together hold at most Limit entries. Next, where it is not empty, is the last of them
// and the StartAfter of the next page, which may turn out to be empty. A page without
// Next is the last one, and one without entries has no Next.
type Page struct {
	Objects  []Object
	Prefixes []string
	Next     string
}
