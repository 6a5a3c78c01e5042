package blob

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"syscall"
	"time"
)

// dirLocks lock keys between goroutines and processes. Within the process waiting
// costs nothing; another process's lock is asked for again and again, so that a
// context can end the wait, as flock(2) knows no time limit.
type dirLocks struct {
	root  *os.Root
	turns [256]chan struct{}
}

const (
	lockFolder = "lock"
	lockPause  = 2 * time.Millisecond
)

func newDirLocks(root *os.Root) *dirLocks {
	l := &dirLocks{root: root}
	for i := range l.turns {
		l.turns[i] = make(chan struct{}, 1)
	}
	return l
}

// lock holds until unlock is called or the process ends, however it ends.
func (l *dirLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	h := fnv.New32a()
	h.Write([]byte(key))
	i := h.Sum32() % uint32(len(l.turns))
	select {
	case l.turns[i] <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := l.flock(ctx, fmt.Sprintf("%s/%02x", lockFolder, i))
	if err != nil {
		<-l.turns[i]
		return nil, err
	}
	return func() {
		f.Close() // unlocks
		<-l.turns[i]
	}, nil
}

// flock opens the file anew each time: a lock belongs to what was opened, not to the
// process, so that two Dirs of one process exclude each other too.
func (l *dirLocks) flock(ctx context.Context, path string) (*os.File, error) {
	f, err := l.root.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, diskError(err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case err == syscall.EINTR:
			continue
		case err != syscall.EWOULDBLOCK:
			return nil, errors.Join(diskError(err), f.Close())
		}
		timer := time.NewTimer(lockPause/4 + rand.N(lockPause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}
