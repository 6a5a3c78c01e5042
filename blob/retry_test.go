package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
)

// always fails each call of an operation.
func always(operation string, fault blobtest.Fault) blobtest.Rule {
	return blobtest.Rule{Operation: operation, Fault: fault}
}

func TestRetryTries(t *testing.T) {
	notSent := blobtest.Rule{Operation: blobtest.Put, Fault: blobtest.Before, Err: fmt.Errorf("%w: %w", blob.ErrUnavailable, blob.ErrNotSent)}
	text := func() io.Reader { return strings.NewReader("text") }
	stream := func() io.Reader { return iotest.OneByteReader(strings.NewReader("text")) }
	put := func(body func() io.Reader, o blob.PutOptions) func(context.Context, blob.Bucket) error {
		return func(ctx context.Context, b blob.Bucket) error {
			_, err := b.Put(ctx, "k", body(), o)
			return err
		}
	}
	for _, c := range []struct {
		name  string
		rule  blobtest.Rule
		call  func(context.Context, blob.Bucket) error
		tries int
	}{
		{"get", always(blobtest.Get, blobtest.Before), func(ctx context.Context, b blob.Bucket) error { _, _, err := b.Get(ctx, "k", blob.Range{}); return err }, 5},
		{"stat", always(blobtest.Stat, blobtest.Before), func(ctx context.Context, b blob.Bucket) error { _, err := b.Stat(ctx, "k"); return err }, 5},
		{"list", always(blobtest.List, blobtest.Before), func(ctx context.Context, b blob.Bucket) error { _, err := b.List(ctx, blob.ListOptions{}); return err }, 5},
		{"delete", always(blobtest.Delete, blobtest.Lost), func(ctx context.Context, b blob.Bucket) error { return b.Delete(ctx, "k") }, 5},
		{"abort", always(blobtest.AbortUploads, blobtest.Before), func(ctx context.Context, b blob.Bucket) error { return b.AbortUploads(ctx, "k") }, 5},
		{"put", always(blobtest.Put, blobtest.Lost), put(text, blob.PutOptions{Size: 4}), 5},
		{"put of a stream", always(blobtest.Put, blobtest.Before), put(stream, blob.PutOptions{Size: 4}), 1},
		{"put of unknown size", always(blobtest.Put, blobtest.Before), put(text, blob.PutOptions{Size: -1}), 1},
		{"create", always(blobtest.Put, blobtest.Lost), put(text, blob.PutOptions{Size: 4, IfAbsent: true}), 1},
		{"swap", always(blobtest.Put, blobtest.Before), put(text, blob.PutOptions{Size: 4, IfMatch: "x"}), 1},
		{"create that was not sent", notSent, put(text, blob.PutOptions{Size: 4, IfAbsent: true}), 5},
		{"denied", blobtest.Rule{Fault: blobtest.Before, Err: blob.ErrDenied}, func(ctx context.Context, b blob.Bucket) error { _, err := b.Stat(ctx, "k"); return err }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := blobtest.NewFaulty(blob.NewMemory(), 1, c.rule)
				began := time.Now()
				err := c.call(t.Context(), blob.Retry(f, nil))
				took := time.Since(began)
				if err == nil || f.Calls() != c.tries || (c.tries > 1) != (took > 0) || took > 750*time.Millisecond {
					t.Errorf("%v after %d tries in %v, want an error after %d", err, f.Calls(), took, c.tries)
				}
			})
		})
	}
}

// What is sent again is the whole body, from where it stood.
func TestRetryRewinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := blobtest.NewFaulty(blob.NewMemory(), 1, blobtest.Rule{Operation: blobtest.Put, Fault: blobtest.Lost, Nth: 1}, blobtest.Rule{Operation: blobtest.Put, Fault: blobtest.Before, Nth: 1})
		body := strings.NewReader("not this, but this")
		body.Seek(14, io.SeekStart)
		if _, err := blob.Retry(f, nil).Put(t.Context(), "k", body, blob.PutOptions{Size: 4}); err != nil || f.Calls() != 3 {
			t.Fatalf("%v after %d tries", err, f.Calls())
		}
		if got, err := get(t, f, "k"); got != "this" {
			t.Errorf("stored %q, %v", got, err)
		}
	})
}

func TestRetryContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Shorter than the pause before a second try, which is drawn from milliseconds.
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		f := blobtest.NewFaulty(blob.NewMemory(), 1, always("", blobtest.Before))
		began := time.Now()
		_, err := blob.Retry(f, nil).Stat(ctx, "k")
		if !errors.Is(err, context.DeadlineExceeded) || f.Calls() != 1 || time.Since(began) != time.Nanosecond {
			t.Errorf("%v after %d tries in %v", err, f.Calls(), time.Since(began))
		}
	})
}

// While one call in two fails for long, retries stay a tenth of the successes.
func TestRetryBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := blobtest.NewFaulty(blob.NewMemory(), 1, blobtest.Rule{Operation: blobtest.List, Fault: blobtest.Before, Probability: 0.5})
		b := blob.Retry(f, nil)
		const calls = 5000
		succeeded := 0
		for range calls {
			if _, err := b.List(t.Context(), blob.ListOptions{}); err == nil {
				succeeded++
			}
		}
		retries := f.Calls() - calls
		if most := 100 + succeeded/10; retries > most || retries < most/2 {
			t.Errorf("%d retries, %d successes; want up to %d", retries, succeeded, most)
		}
	})
}

func TestRetryCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := blobtest.NewFaulty(blob.NewMemory(), 1, always("", blobtest.Before))
		b := blob.Retry(f, slog.New(slog.NewTextHandler(&log, nil)))
		stat := func() error { _, err := b.Stat(t.Context(), "k"); return err }
		for range 4 {
			if err := stat(); !errors.Is(err, blob.ErrUnavailable) || errors.Is(err, blob.ErrNotSent) {
				t.Fatalf("on the way to 20 failures: %v", err)
			}
		}
		for range 50 {
			if err := stat(); !errors.Is(err, blob.ErrUnavailable) || !errors.Is(err, blob.ErrNotSent) {
				t.Fatalf("afterwards: %v", err)
			}
		}
		if f.Calls() != 20 || !strings.Contains(log.String(), "does not answer") {
			t.Fatalf("%d calls reached the store; log: %s", f.Calls(), &log)
		}
		time.Sleep(time.Second)
		if err := stat(); err == nil || f.Calls() != 21 {
			t.Fatalf("a second later: %v, %d calls", err, f.Calls())
		}
		f.SetRules(blobtest.Rule{Fault: blobtest.Slow, Delay: 3 * time.Second, Nth: 1})
		time.Sleep(time.Second)
		probe := make(chan error)
		go func() { probe <- stat() }()
		synctest.Wait()
		for range 10 {
			if err := stat(); !errors.Is(err, blob.ErrNotSent) {
				t.Fatalf("beside the one call that tries: %v", err)
			}
		}
		time.Sleep(time.Second) // and though that one still hangs, the next finds the store back
		if err := stat(); !errors.Is(err, blob.ErrNotFound) || !strings.Contains(log.String(), "answers again") {
			t.Fatalf("when it is back: %v; log: %s", err, &log)
		}
		if err := <-probe; !errors.Is(err, blob.ErrNotFound) || f.Calls() != 23 {
			t.Fatalf("the one call: %v, %d calls", err, f.Calls())
		}
	})
}

// A large body that breaks off goes on where it was, and not in another object.
func TestRetryResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := strings.Repeat("0123456789", 100_000)
		store := blob.NewMemory()
		f := blobtest.NewFaulty(store, 1)
		b := blob.Retry(f, nil)
		put(t, store, "k", whole)
		for _, r := range []blob.Range{{}, {Offset: 7}, {Offset: 7, Length: 900_001}, {Length: 500_000}} {
			f.SetRules(blobtest.Rule{Operation: blobtest.Get, Fault: blobtest.Cut, Nth: 1}, blobtest.Rule{Operation: blobtest.Get, Fault: blobtest.Before, Nth: 1}, blobtest.Rule{Operation: blobtest.Get, Fault: blobtest.Cut, Nth: 1})
			body, _, err := b.Get(t.Context(), "k", r)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(body)
			want := whole[r.Offset:]
			if r.Length > 0 {
				want = want[:r.Length]
			}
			if err != nil || string(data) != want || body.Close() != nil {
				t.Errorf("%+v: %d bytes, %v", r, len(data), err)
			}
		}
		f.SetRules(blobtest.Rule{Operation: blobtest.Get, Fault: blobtest.Cut, Nth: 1})
		body, _, err := b.Get(t.Context(), "k", blob.Range{})
		if err != nil {
			t.Fatal(err)
		}
		put(t, store, "k", strings.Repeat("another789", 100_000))
		data, err := io.ReadAll(body)
		if !errors.Is(err, blob.ErrUnavailable) || !strings.Contains(err.Error(), "replaced") || string(data) != whole[:len(data)] {
			t.Errorf("replaced: %d bytes, %v", len(data), err)
		}
		f.SetRules(always(blobtest.Get, blobtest.Cut))
		if body, _, err = b.Get(t.Context(), "k", blob.Range{}); err != nil {
			t.Fatal(err)
		}
		calls := f.Calls()
		// Each call halves what is missing, until five in a row bring nothing.
		if _, err := io.ReadAll(body); !errors.Is(err, blob.ErrUnavailable) || f.Calls() > calls+30 {
			t.Errorf("always cut: %v after %d calls", err, f.Calls()-calls)
		}
	})
}

// That the last try was not sent does not tell that none was.
func TestRetryDoubtStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := blobtest.NewFaulty(blob.NewMemory(), 1,
			blobtest.Rule{Operation: blobtest.Put, Fault: blobtest.Lost, Nth: 1},
			blobtest.Rule{Operation: blobtest.Put, Fault: blobtest.Before, Err: fmt.Errorf("%w: %w", blob.ErrUnavailable, blob.ErrNotSent)})
		_, err := blob.Retry(f, nil).Put(t.Context(), "k", strings.NewReader("text"), blob.PutOptions{Size: 4})
		if !errors.Is(err, blob.ErrUnavailable) || errors.Is(err, blob.ErrNotSent) {
			t.Errorf("got %v, want one that says unknown", err)
		}
		if got, err := get(t, f, "k"); got != "text" {
			t.Fatalf("the first try was to store it: %q, %v", got, err)
		}
	})
}

// A store that takes calls and never answers is as good as away: nobody waits for more
// than 15 s, and nobody waits twice.
func TestRetryNoAnswer(t *testing.T) {
	calls := map[string]func(context.Context, blob.Bucket) error{
		"get":    func(ctx context.Context, b blob.Bucket) error { _, _, err := b.Get(ctx, "k", blob.Range{}); return err },
		"stat":   func(ctx context.Context, b blob.Bucket) error { _, err := b.Stat(ctx, "k"); return err },
		"list":   func(ctx context.Context, b blob.Bucket) error { _, err := b.List(ctx, blob.ListOptions{}); return err },
		"delete": func(ctx context.Context, b blob.Bucket) error { return b.Delete(ctx, "k") },
		"create": func(ctx context.Context, b blob.Bucket) error {
			_, err := b.Put(ctx, "k", strings.NewReader("text"), blob.PutOptions{Size: 4, IfAbsent: true})
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := blobtest.NewFaulty(blob.NewMemory(), 1, blobtest.Rule{Fault: blobtest.Slow, Delay: time.Hour})
				began := time.Now()
				err := call(t.Context(), blob.Retry(f, nil))
				if took := time.Since(began); !errors.Is(err, blob.ErrUnavailable) || errors.Is(err, blob.ErrNotSent) || took != 15*time.Second || f.Calls() != 1 {
					t.Errorf("after %v and %d calls: %v", took, f.Calls(), err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a body that has begun to come may take its time
		store := blob.NewMemory()
		put(t, store, "k", strings.Repeat("x", 1<<20))
		body, _, err := blob.Retry(store, nil).Get(t.Context(), "k", blob.Range{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if n, err := io.Copy(io.Discard, body); n != 1<<20 || err != nil || body.Close() != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// givingUp is a store that is silent, behind a driver that gives a connection up after a
// while.
type givingUp struct {
	blob.Bucket
	after time.Duration
	calls int
}

func (b *givingUp) Stat(ctx context.Context, _ string) (blob.Object, error) {
	b.calls++
	select {
	case <-time.After(b.after):
		return blob.Object{}, blob.ErrUnavailable
	case <-ctx.Done():
		return blob.Object{}, ctx.Err()
	}
}

// However often a call is repeated, whoever waits for it waits for 15 s at most; and if one
// connection alone was dead, a second try is made before that.
func TestRetryPatience(t *testing.T) {
	for after, tries := range map[time.Duration]int{10 * time.Second: 2, 6 * time.Second: 3} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &givingUp{Bucket: blob.NewMemory(), after: after}
				began := time.Now()
				_, err := blob.Retry(store, nil).Stat(t.Context(), "k")
				if took := time.Since(began); !errors.Is(err, blob.ErrUnavailable) || store.calls != tries || took != 15*time.Second {
					t.Errorf("after %v and %d calls, want %d: %v", took, store.calls, tries, err)
				}
			})
		})
	}
}
