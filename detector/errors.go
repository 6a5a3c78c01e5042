package detector

import "errors"

var (
	// ErrBadBody: what was sent is not events in the format that it should have.
	ErrBadBody = errors.New("malformed body")
	// ErrBadEvent: an event that cannot be used, in a body that can be read.
	ErrBadEvent = errors.New("bad event")
	// ErrInvalid: a choice (parameter, feature, threat level) that cannot be.
	ErrInvalid = errors.New("invalid choice")
	// ErrNotADetector: a version without a forest that can be scored.
	ErrNotADetector = errors.New("not a detector")
	// ErrDisagrees: a detector that does not give the scores it was published with.
	ErrDisagrees = errors.New("detector disagrees with its own record")
	// ErrNoRoom: the detectors in use fill the pool.
	ErrNoRoom = errors.New("no room for the detector")
	// ErrBusy: a node has all the work of a kind that it can take.
	ErrBusy = errors.New("busy")
	// ErrTooMany: one tenant has all the work of a kind that one may have under way.
	ErrTooMany = errors.New("too many at once")
	// ErrClosed: the pool or resolver was closed.
	ErrClosed = errors.New("closed")
	// ErrTooLarge: an event, or all of them together, beyond a limit.
	ErrTooLarge = errors.New("too large")
)
