package registrytest

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

// lateLimit is the age at which a store refuses a request.
const lateLimit = 15 * time.Minute

var (
	errUnclear = fmt.Errorf("%w: on purpose", blob.ErrUnavailable)
	errNotSent = fmt.Errorf("%w: %w: on purpose", blob.ErrUnavailable, blob.ErrNotSent)
	errKilled  = errors.New("the node was killed")
)

// world is what the nodes of one run share: the bucket, and the scheduler, who decides
// which of the calls under way comes next. All but what mu guards is the scheduler's.
type world struct {
	store  *blob.Memory
	began  time.Time
	random *rand.Rand
	rate   float64         // share of changes that go wrong; of reads, a quarter of it
	flips  bool            // whether bytes arrive wrong
	wrong  map[string]bool // what did so, by client and key
	parked []*call
	late   []*call // landing although nobody waits for them
	trace  hash.Hash64
	log    func(string) // every call, for people; nil: nobody

	scoring func(*registry.Registry) Scoring

	calls    int
	searched int
	fired    map[string]int

	mu         sync.Mutex
	fates      map[string]int // guarded by the history's lock
	arrived    []*call
	wake       chan struct{}
	over       bool
	stamps     []time.Time
	violations []Violation
}

// call is a call to the bucket that waits for its turn.
type call struct {
	node   *node
	client string // on whose behalf
	kind   string
	key    string
	what   string // more that tells it from others
	depth  int    // of its context: of two calls for the same, one is deeper in the registry
	change bool
	single bool // a listing of one key
	do     func() error
	first  func() // on arrival: for what sees two moments
	spoil  func(fault) error
	reply  chan error

	fault     fault
	notBefore time.Time
	ended     bool // the caller's context is over; guarded by world.mu
}

type fault string

const (
	none    fault = ""
	unsent  fault = "not sent"
	before  fault = "before"
	lost    fault = "lost"
	late    fault = "late"
	twice   fault = "twice"  // once more later, and the first answer counts
	resent  fault = "resent" // once more at once, and the second answer counts
	slow    fault = "slow"
	cut     fault = "cut"
	flip    fault = "flip"
	later   fault = "later page"
	ignored fault = "left behind" // the caller's context ended, or its node died
)

func newWorld(seed uint64) *world {
	return &world{
		store: blob.NewMemory(), began: time.Now(), random: rand.New(rand.NewPCG(seed, 1)), trace: fnv.New64a(),
		wake: make(chan struct{}, 1), wrong: map[string]bool{}, fired: map[string]int{}, fates: map[string]int{},
	}
}

// stamp orders calls and answers of all clients.
func (w *world) stamp() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stamps = append(w.stamps, time.Now())
	return int64(len(w.stamps))
}

// stampAt is the first stamp that was not given before a time.
func (w *world) stampAt(at time.Time) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	i, _ := slices.BinarySearchFunc(w.stamps, at, time.Time.Compare)
	return int64(i + 1)
}

func (w *world) violated(check, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, Violation{check, fmt.Sprintf(format, args...)})
}

// park waits for a call's turn.
func (w *world) park(ctx context.Context, c *call) error {
	c.reply = make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		c.ended = true
		w.mu.Unlock()
		w.nudge()
	})
	defer stop()
	w.mu.Lock()
	w.arrived = append(w.arrived, c)
	w.mu.Unlock()
	w.nudge()
	return <-c.reply
}

func (w *world) nudge() {
	select {
	case w.wake <- struct{}{}:
	default: // it is awake already
	}
}

// end lets schedule return once nothing is under way.
func (w *world) end() {
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	w.nudge()
}

// schedule runs until end was called and all that was under way has landed.
func (w *world) schedule() {
	for {
		synctest.Wait()
		w.receive()
		switch c, at := w.next(); {
		case c != nil:
			w.perform(c)
		case !at.IsZero():
			timer := time.NewTimer(time.Until(at))
			select {
			case <-timer.C:
			case <-w.wake:
			}
			timer.Stop()
		case w.finished():
			return
		default:
			<-w.wake
		}
	}
}

func (w *world) finished() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over && len(w.arrived) == 0
}

// receive takes in what has arrived, in an order that does not depend on which goroutine
// came first, and decides what will become of it.
func (w *world) receive() {
	w.mu.Lock()
	arrived := w.arrived
	w.arrived = nil
	w.mu.Unlock()
	slices.SortStableFunc(arrived, func(a, b *call) int {
		return cmp.Or(cmp.Compare(a.node.index, b.node.index), strings.Compare(a.client, b.client),
			strings.Compare(a.kind, b.kind), strings.Compare(a.key, b.key), strings.Compare(a.what, b.what), cmp.Compare(a.depth, b.depth))
	})
	for i, c := range arrived {
		if i > 0 && c.like(arrived[i-1]) {
			c.fault, c.notBefore = arrived[i-1].fault, arrived[i-1].notBefore
		} else {
			w.decide(c)
		}
		if c.first != nil {
			c.first()
		}
	}
	w.parked = append(w.parked, arrived...)
}

// like tells whether two calls that arrived together can't be told apart. They share
// one fate, as else it would depend on luck which of them has which.
func (c *call) like(o *call) bool {
	return c.node == o.node && c.client == o.client && c.kind == o.kind && c.key == o.key && c.what == o.what && c.depth == o.depth && !c.change
}

// decide draws what becomes of a call. As many numbers are drawn for each.
func (w *world) decide(c *call) {
	chance, kind, size := w.random.Float64(), w.random.IntN(100), w.random.Float64()
	rate := w.rate
	if !c.change {
		rate /= 4
	}
	if c.kind == blobtest.List && strings.Contains(c.what, "after") {
		rate *= 3
	}
	delay := time.Duration(size * float64(30*time.Second))
	if kind%10 == 0 {
		delay = time.Duration(size * float64(lateLimit))
	}
	switch {
	case chance >= rate:
	case kind < 10:
		c.fault = unsent
	case kind < 30:
		c.fault = before
	case kind < 50:
		c.fault = lost
	case kind < 60:
		c.fault = slow
	case c.change && kind < 85:
		c.fault = late
	case c.change && kind < 93:
		c.fault = twice
	case c.change:
		c.fault = resent
	case c.kind == blobtest.Get && kind < 80:
		c.fault = cut
	case c.kind == blobtest.Get && w.flips && !w.wrong[c.client+" "+c.key]:
		c.fault = flip
		w.wrong[c.client+" "+c.key] = true // a second time would be damage
	case c.kind == blobtest.List && c.what != "":
		c.fault = later
	default:
		c.fault = before
	}
	if c.fault == none && w.rate > 0 && size < 0.4 && c.kind == blobtest.List && isLog(c.key) && !c.single {
		c.fault, delay = slow, time.Duration(size*float64(10*time.Second)) // much is added meanwhile
	}
	c.notBefore = time.Now()
	switch c.fault {
	case slow, late:
		c.notBefore = c.notBefore.Add(delay)
	}
}

// next is the call whose turn it is; else the time at which there may be one, zero if
// that is not known.
func (w *world) next() (*call, time.Time) {
	now := time.Now()
	var ready []*call
	var at time.Time
	wait := func(until time.Time) {
		if at.IsZero() || until.Before(at) {
			at = until
		}
	}
	w.mu.Lock()
	for _, c := range w.parked {
		switch frozen := c.node.frozenUntil(); {
		case c.node.killed():
			w.mu.Unlock()
			return c, at
		case now.Before(frozen):
			wait(frozen)
		case c.ended:
			w.mu.Unlock()
			return c, at
		case now.Before(c.notBefore) && c.fault == slow:
			wait(c.notBefore)
		default:
			ready = append(ready, c)
		}
	}
	w.mu.Unlock()
	for _, c := range w.late {
		if !now.Before(c.notBefore) {
			return c, at
		}
		wait(c.notBefore)
	}
	if len(ready) == 0 {
		return nil, at
	}
	return ready[w.random.IntN(len(ready))], at
}

// perform lets one call have its turn, and the clock go on a little.
func (w *world) perform(c *call) {
	if i := slices.Index(w.late, c); i >= 0 {
		w.late = slices.Delete(w.late, i, i+1)
		w.note(c, "lands", w.apply(c))
		return
	}
	same := slices.DeleteFunc(slices.Clone(w.parked), func(o *call) bool { return o != c && !o.like(c) })
	w.parked = slices.DeleteFunc(w.parked, func(o *call) bool { return slices.Contains(same, o) })
	w.mu.Lock()
	// Of two that are alike only one may have a context that is over: that one first.
	ended := slices.DeleteFunc(slices.Clone(same), func(o *call) bool { return !o.ended })
	w.mu.Unlock()
	heard := len(ended) > 0 && w.random.IntN(2) == 0
	same = append(ended, slices.DeleteFunc(same, func(o *call) bool { return slices.Contains(ended, o) })...)
	for i, c := range same {
		var err error
		switch {
		case c.node.killed():
			err = w.leave(c, errKilled)
		case heard && i < len(ended):
			err = w.leave(c, context.Canceled)
		default:
			err = w.carryOut(c)
		}
		w.calls++
		c.reply <- err
	}
	time.Sleep(time.Duration(w.random.Int64N(int64(2 * time.Millisecond))))
}

// leave answers a caller who no longer waits. Its request may be on its way.
func (w *world) leave(c *call, err error) error {
	w.fired[string(ignored)]++
	if c.change && w.random.IntN(2) == 0 {
		w.postpone(c, time.Duration(w.random.Int64N(int64(lateLimit))))
	}
	w.note(c, string(ignored), err)
	return err
}

func (w *world) postpone(c *call, d time.Duration) {
	c.notBefore = time.Now().Add(d)
	w.late = append(w.late, c)
}

func (w *world) carryOut(c *call) error {
	if c.fault != none {
		w.fired[c.kind+" "+string(c.fault)]++
	}
	var err error
	switch c.fault {
	case unsent:
		err = errNotSent
	case before, later:
		err = errUnclear
	case late:
		w.late = append(w.late, c)
		err = errUnclear
	case lost:
		w.apply(c)
		err = errUnclear
	case twice:
		err = w.apply(c)
		w.postpone(c, time.Duration(w.random.Int64N(int64(lateLimit))))
	case resent:
		w.apply(c)
		err = w.apply(c)
	case cut, flip:
		if err = w.apply(c); err == nil {
			err = c.spoil(c.fault)
		}
	default:
		err = w.apply(c)
	}
	w.note(c, string(c.fault), err)
	return err
}

// apply asks the store.
func (w *world) apply(c *call) error {
	if isRecord(c.key) && c.change {
		return w.applyToRecord(c)
	}
	return c.do()
}

// applyToRecord sees to it that a record, once there, stays as it is.
func (w *world) applyToRecord(c *call) error {
	old, statErr := w.store.Stat(context.Background(), c.key)
	err := c.do()
	if statErr == nil {
		if now, nowErr := w.store.Stat(context.Background(), c.key); nowErr != nil || now.ETag != old.ETag {
			w.violated("records never change", "%s of %s by node %d", c.kind, c.key, c.node.index)
		}
	}
	return err
}

// isRecord tells whether key is that of a commit record.
func isRecord(key string) bool {
	return strings.Contains(key, "/_versions/") && strings.HasSuffix(key, ".json") &&
		!strings.HasSuffix(key, ".tombstone.json") && !strings.HasSuffix(key, ".attributes.json")
}

// note writes a line of the trace: when, who, what, and how it ended.
func (w *world) note(c *call, how string, err error) {
	ended := "ok"
	for _, known := range []error{blob.ErrNotFound, blob.ErrPrecondition, blob.ErrNotSent, blob.ErrUnavailable, context.Canceled, errKilled} {
		if errors.Is(err, known) {
			ended = known.Error()
			break
		}
	}
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(time.Since(w.began)))
	w.trace.Write(at[:])
	for _, s := range []string{c.client, c.kind, c.key, c.what, how, ended} {
		w.trace.Write([]byte(s))
		w.trace.Write([]byte{0})
	}
	if w.log != nil {
		w.log(fmt.Sprintf("%v node %d %s: %s %s %s %s: %s", time.Since(w.began), c.node.index, c.client, c.kind, c.key, c.what, how, ended))
	}
}
