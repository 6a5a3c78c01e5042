package registry

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"
)

// machine is what a node takes from the host that it runs on: time and chance. Wall
// time is for people only (created_at and the like); decisions use differences of the
// clock's readings within one process.
type machine struct {
	now    func() time.Time
	random func() uint64 // used by many goroutines at once
}

// cryptoRandom is the chance of nodes that are not told otherwise.
func cryptoRandom() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// since is how long ago t was, by the clock that has gone on for longer: the monotonic
// one stands still while a machine sleeps, and the wall clock may be set back.
func (m machine) since(t time.Time) time.Duration {
	n := m.now()
	return max(n.Sub(t), n.Round(0).Sub(t.Round(0)))
}

// stamp is a time as it is kept in the bucket and shown.
func (m machine) stamp() time.Time { return m.now().UTC().Truncate(time.Microsecond) }

// newID is a UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, the rest chance. It
// is made here, of this node's clock: a library's has one for the whole process.
func (m machine) newID() string {
	high := uint64(m.now().UnixMilli())<<16 | 7<<12 | m.random()>>52
	low := 0b10<<62 | m.random()>>2
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xffff, high&0xffff, low>>48, low&(1<<48-1))
}

// pause waits for a random time up to limit, or until the context is over.
func (m machine) pause(ctx context.Context, limit time.Duration) error {
	t := time.NewTimer(time.Duration(m.random()%uint64(limit)) + time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
