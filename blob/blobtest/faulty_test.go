package blobtest_test

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
)

// A faulty bucket without rules is the bucket itself.
func TestFaultyWithoutRules(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Bucket { return blobtest.NewFaulty(blob.NewMemory(), 1) })
}

func put(t *testing.T, b blob.Bucket, key, data string) error {
	_, err := b.Put(t.Context(), key, strings.NewReader(data), blob.PutOptions{Size: int64(len(data))})
	return err
}

func get(t *testing.T, b blob.Bucket, key string) (string, error) {
	body, _, err := b.Get(t.Context(), key, blob.Range{})
	if err != nil {
		return "", err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	return string(data), err
}

func TestFaults(t *testing.T) {
	store := blob.NewMemory()
	f := blobtest.NewFaulty(store, 1,
		blobtest.Rule{Fault: blobtest.Before, Operation: blobtest.Put, Key: regexp.MustCompile("^before")},
		blobtest.Rule{Fault: blobtest.Lost, Operation: blobtest.Put, Key: regexp.MustCompile("^lost")},
		blobtest.Rule{Fault: blobtest.Cut, Operation: blobtest.Get, Key: regexp.MustCompile("^cut"), Nth: 2},
		blobtest.Rule{Fault: blobtest.Flip, Operation: blobtest.Get, Key: regexp.MustCompile("^flip"), Nth: 2},
		blobtest.Rule{Fault: blobtest.Before, Operation: blobtest.Delete, Err: blob.ErrDenied},
	)
	if err := put(t, f, "before", "x"); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("before: %v", err)
	}
	if _, err := store.Stat(t.Context(), "before"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("before: the store was asked: %v", err)
	}
	if err := put(t, f, "lost", "x"); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("lost: %v", err)
	}
	if got, err := get(t, store, "lost"); err != nil || got != "x" {
		t.Errorf("lost: the store has %q, %v", got, err)
	}
	for key, want := range map[string][]string{"cut": {"0123456789", "01234", "0123456789"}, "flip": {"0123456789", "0123446789", "0123456789"}} {
		if err := put(t, f, key, "0123456789"); err != nil {
			t.Fatal(err)
		}
		for i, want := range want {
			got, err := get(t, f, key)
			if broken := key == "cut" && i == 1; got != want || (err != nil) != broken || broken && !errors.Is(err, blob.ErrUnavailable) {
				t.Errorf("%s, read %d: %q, %v, want %q", key, i+1, got, err, want)
			}
		}
	}
	if err := f.Delete(t.Context(), "cut"); !errors.Is(err, blob.ErrDenied) {
		t.Errorf("delete: %v", err)
	}
	want := map[string]int{"put before": 1, "put lost": 1, "get cut": 1, "get flip": 1, "delete before": 1}
	if diff := cmp.Diff(want, f.Fired()); diff != "" {
		t.Errorf("fired (-want +got):\n%s", diff)
	}
	f.SetRules()
	if err := f.Delete(t.Context(), "cut"); err != nil {
		t.Errorf("healed: %v", err)
	}
}

func TestFaultyLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory()
		f := blobtest.NewFaulty(store, 1,
			blobtest.Rule{Fault: blobtest.Late, Delay: time.Hour, Operation: blobtest.Put, Nth: 1},
			blobtest.Rule{Fault: blobtest.Slow, Delay: time.Minute, Operation: blobtest.Put})
		began := time.Now()
		if err := put(t, f, "k", "late"); !errors.Is(err, blob.ErrUnavailable) || time.Since(began) != 0 {
			t.Errorf("late: %v after %v", err, time.Since(began))
		}
		if err := put(t, f, "k", "slow"); err != nil || time.Since(began) != time.Minute {
			t.Errorf("slow: %v after %v", err, time.Since(began))
		}
		if got, err := get(t, f, "k"); got != "slow" {
			t.Errorf("before the hour: %q, %v", got, err)
		}
		f.Wait()
		if got, err := get(t, f, "k"); got != "late" {
			t.Errorf("after the hour: %q, %v", got, err)
		}
	})
}

// The same seed and the same calls give the same faults.
func TestFaultySeed(t *testing.T) {
	run := func(seed uint64) string {
		f := blobtest.NewFaulty(blob.NewMemory(), seed, blobtest.Rule{Fault: blobtest.Before, Probability: 0.3})
		trace := ""
		for range 100 {
			_, err := f.Stat(t.Context(), "k")
			trace += fmt.Sprint(errors.Is(err, blob.ErrUnavailable), " ")
		}
		if n := f.Fired()["stat before"]; n < 15 || n > 45 || f.Calls() != 100 {
			t.Errorf("seed %d: %d of %d calls failed", seed, n, f.Calls())
		}
		return trace
	}
	first := run(1)
	if again := run(1); again != first {
		t.Error("one seed, two traces")
	}
	if first == run(2) {
		t.Error("two seeds, one trace")
	}
}
