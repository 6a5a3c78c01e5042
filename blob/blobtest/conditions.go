package blobtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"modelbucket/blob"
)

func create(t *testing.T, b blob.Bucket, key, data string) error {
	_, err := b.Put(t.Context(), key, strings.NewReader(data), blob.PutOptions{Size: int64(len(data)), IfAbsent: true})
	return err
}

func swap(t *testing.T, b blob.Bucket, key, data, etag string) (blob.Object, error) {
	return b.Put(t.Context(), key, strings.NewReader(data), blob.PutOptions{Size: int64(len(data)), IfMatch: etag})
}

func createOnce(t *testing.T, b blob.Bucket) {
	if err := create(t, b, "a/k", "first"); err != nil {
		t.Fatalf("create: %v", err)
	}
	for _, content := range []string{"second", "first", ""} {
		wantError(t, "create again", create(t, b, "a/k", content), blob.ErrPrecondition)
		wantContent(t, b, "a/k", "first")
	}
	put(t, b, "plain", "x")
	wantError(t, "create over a plain Put", create(t, b, "plain", "y"), blob.ErrPrecondition)
	if err := b.Delete(t.Context(), "a/k"); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	if err := create(t, b, "a/k", "third"); err != nil {
		t.Fatalf("create after Delete: %v", err)
	}
	wantContent(t, b, "a/k", "third")
}

// createOnceRace: of 32 writers exactly one wins, and what it wrote is there.
func createOnceRace(t *testing.T, b blob.Bucket) {
	for round := range 60 {
		key := fmt.Sprintf("race-%d/k", round)
		var winners atomic.Int32
		var winner atomic.Value
		together(t, 32, func(i int) error {
			mine := fmt.Sprintf("writer %d of round %d", i, round)
			err := create(t, b, key, mine)
			if err == nil {
				winners.Add(1)
				winner.Store(mine)
			}
			if errors.Is(err, blob.ErrPrecondition) {
				return nil
			}
			return err
		})
		if n := winners.Load(); n != 1 {
			t.Fatalf("round %d has %d winners", round, n)
		}
		wantContent(t, b, key, winner.Load().(string))
	}
}

func compareAndSwap(t *testing.T, b blob.Bucket) {
	first := put(t, b, "k", "1")
	second, err := swap(t, b, "k", "2", first.ETag)
	if err != nil || second.ETag == first.ETag || second.Size != 1 {
		t.Fatalf("right ETag: %+v, %v", second, err)
	}
	wantContent(t, b, "k", "2")
	_, err = swap(t, b, "k", "3", first.ETag)
	wantError(t, "ETag of before", err, blob.ErrPrecondition)
	_, err = swap(t, b, "k", "3", "00000000000000000000000000000000")
	wantError(t, "wrong ETag", err, blob.ErrPrecondition)
	_, err = swap(t, b, "k", "2", first.ETag)
	wantError(t, "same content, ETag of before", err, blob.ErrPrecondition)
	wantContent(t, b, "k", "2")
	_, err = swap(t, b, "absent", "3", first.ETag)
	wantError(t, "absent key", err, blob.ErrNotFound)
	wantAbsent(t, b, "absent")
	if err := b.Delete(t.Context(), "k"); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	_, err = swap(t, b, "k", "3", second.ETag)
	wantError(t, "deleted key", err, blob.ErrNotFound)
	wantAbsent(t, b, "k")
}

// compareAndSwapRace: of 16 writers with the same ETag exactly one wins.
func compareAndSwapRace(t *testing.T, b blob.Bucket) {
	at := put(t, b, "k", "start")
	for round := range 20 {
		var winners atomic.Int32
		var next atomic.Value
		together(t, 16, func(i int) error {
			o, err := swap(t, b, "k", fmt.Sprintf("%d-%d", round, i), at.ETag)
			if err == nil {
				winners.Add(1)
				next.Store(o)
			}
			if errors.Is(err, blob.ErrPrecondition) {
				return nil
			}
			return err
		})
		if n := winners.Load(); n != 1 {
			t.Fatalf("round %d has %d winners", round, n)
		}
		at = next.Load().(blob.Object)
		if o, err := b.Stat(t.Context(), "k"); err != nil || o.ETag != at.ETag {
			t.Fatalf("round %d: ETag %s, %v, want the winner's %s", round, o.ETag, err, at.ETag)
		}
	}
}

// counter: 16 writers add 25 each by compare-and-swap, and none is lost.
func counter(t *testing.T, b blob.Bucket) {
	put(t, b, "n", "0")
	together(t, 16, func(int) error {
		for range 25 {
			for swapped := false; !swapped; {
				data, o, err := read(t.Context(), b, "n", blob.Range{})
				if err != nil {
					return err
				}
				n, err := strconv.Atoi(string(data))
				if err != nil {
					return err
				}
				_, err = swap(t, b, "n", strconv.Itoa(n+1), o.ETag)
				if err != nil && !errors.Is(err, blob.ErrPrecondition) {
					return err
				}
				swapped = err == nil
			}
		}
		return nil
	})
	wantContent(t, b, "n", "400")
}

func conditionalSizes(t *testing.T, b blob.Bucket) {
	whole := pattern(blob.MaxConditional)
	o, err := b.Put(t.Context(), "k", onlyReader{bytes.NewReader(whole)}, blob.PutOptions{Size: blob.MaxConditional, IfAbsent: true})
	if err != nil {
		t.Fatalf("create of %d bytes: %v", len(whole), err)
	}
	wantContent(t, b, "k", string(whole))
	if _, err = b.Put(t.Context(), "k", bytes.NewReader(whole[1:]), blob.PutOptions{Size: blob.MaxConditional - 1, IfMatch: o.ETag}); err != nil {
		t.Fatalf("swap: %v", err)
	}
	wantContent(t, b, "k", string(whole[1:]))
	for _, o := range []blob.PutOptions{{Size: blob.MaxConditional + 1, IfMatch: o.ETag}, {Size: -1, IfAbsent: true}} {
		body := bytes.NewReader(append(whole, 'x'))
		_, err := b.Put(t.Context(), "other", body, o)
		wantError(t, "condition on a body that is too large", err, blob.ErrInvalidKey)
		if n, _ := body.Seek(0, io.SeekCurrent); n != 0 {
			t.Errorf("%d bytes of a refused body were read", n)
		}
	}
}
