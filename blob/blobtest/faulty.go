package blobtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"regexp"
	"sync"
	"time"

	"modelbucket/blob"
)

// Fault is a way in which a call goes wrong.
type Fault string

const (
	Before Fault = "before" // the call fails and the store is not asked
	Lost   Fault = "lost"   // the call is done, and its answer lost
	Late   Fault = "late"   // the call fails, and is done after Delay all the same
	Slow   Fault = "slow"   // the call is done after Delay
	Cut    Fault = "cut"    // Get: the body breaks off in its midst
	Flip   Fault = "flip"   // Get: one byte in the body's midst is wrong
)

// Operations of a bucket, as rules and records name them.
const (
	Get          = "get"
	Stat         = "stat"
	List         = "list"
	Put          = "put"
	Delete       = "delete"
	AbortUploads = "abort_uploads"
)

// Rule says which calls go wrong. Of the calls that match Operation and Key it takes
// the Nth, or each with the given Probability, or all where both are zero. A later
// rule is asked only when the earlier ones did not fire.
type Rule struct {
	Fault       Fault
	Operation   string         // "": any
	Key         *regexp.Regexp // of the key, or the prefix of a List; nil: any
	Nth         int            // counted from 1
	Probability float64
	Delay       time.Duration
	Err         error // what the call returns; nil: blob.ErrUnavailable
}

// Faulty is a Bucket that goes wrong by rules. It is safe for concurrent use, and two
// with the same seed that see the same calls in the same order do the same.
type Faulty struct {
	bucket blob.Bucket
	late   sync.WaitGroup

	mu      sync.Mutex
	random  *rand.Rand
	rules   []Rule
	matched []int
	fired   map[string]int
	calls   int
}

// NewFaulty makes one that stands before b.
func NewFaulty(b blob.Bucket, seed uint64, rules ...Rule) *Faulty {
	f := &Faulty{bucket: b, random: rand.New(rand.NewPCG(seed, 0)), fired: map[string]int{}}
	f.SetRules(rules...)
	return f
}

// SetRules replaces the rules, none heals the bucket; their counts begin at zero.
func (f *Faulty) SetRules(rules ...Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.matched = rules, make([]int, len(rules))
}

// Fired counts the faults so far, as "put lost": 3.
func (f *Faulty) Fired() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.fired)
}

// Calls counts all calls so far, gone wrong or not.
func (f *Faulty) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Wait returns when the calls that come late are done.
func (f *Faulty) Wait() { f.late.Wait() }

func (f *Faulty) String() string { return f.bucket.String() }

// choose finds the rule for a call, if any, and writes down that it fired.
func (f *Faulty) choose(operation, key string) Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	for i, r := range f.rules {
		body := r.Fault == Cut || r.Fault == Flip
		late := r.Fault == Late && operation != Put && operation != Delete
		if r.Operation != "" && r.Operation != operation || body && operation != Get || late || r.Key != nil && !r.Key.MatchString(key) {
			continue
		}
		f.matched[i]++
		if r.Nth > 0 && r.Nth != f.matched[i] || r.Probability > 0 && f.random.Float64() >= r.Probability {
			continue
		}
		f.fired[operation+" "+string(r.Fault)]++
		return r
	}
	return Rule{}
}

func (r Rule) err() error {
	if r.Err != nil {
		return r.Err
	}
	return fmt.Errorf("%w: on purpose (%s)", blob.ErrUnavailable, r.Fault)
}

func (r Rule) wait(ctx context.Context) error {
	if r.Delay == 0 {
		return nil
	}
	timer := time.NewTimer(r.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// call runs do in the way that the rules want. What concerns the body or comes late, do
// sees to by itself.
func (f *Faulty) call(ctx context.Context, operation, key string, do func(context.Context, Rule) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := f.choose(operation, key)
	switch r.Fault {
	case Before:
		return r.err()
	case Lost:
		if err := do(ctx, r); err != nil {
			return err
		}
		return r.err()
	case Slow:
		if err := r.wait(ctx); err != nil {
			return err
		}
	}
	return do(ctx, r)
}

func (f *Faulty) Get(ctx context.Context, key string, part blob.Range) (body io.ReadCloser, o blob.Object, err error) {
	err = f.call(ctx, Get, key, func(ctx context.Context, r Rule) (err error) {
		if body, o, err = f.bucket.Get(ctx, key, part); err != nil {
			return err
		}
		length := o.Size - part.Offset
		if part.Length > 0 {
			length = min(length, part.Length)
		}
		switch r.Fault {
		case Lost:
			return body.Close()
		case Cut:
			body = &brokenBody{ReadCloser: body, left: length / 2, err: fmt.Errorf("%w: %w", r.err(), io.ErrUnexpectedEOF)}
		case Flip:
			body = &brokenBody{ReadCloser: body, left: length / 2}
		}
		return nil
	})
	if err != nil {
		return nil, blob.Object{}, err
	}
	return body, o, nil
}

// brokenBody ends with err after left bytes, or gets the next byte wrong.
type brokenBody struct {
	io.ReadCloser
	left int64
	err  error
	done bool
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.done || len(p) == 0 {
		return b.ReadCloser.Read(p)
	}
	if b.left == 0 {
		if b.err != nil {
			return 0, b.err
		}
		n, err := b.ReadCloser.Read(p)
		if n > 0 {
			b.done = true
			p[0] ^= 1
		}
		return n, err
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (f *Faulty) Stat(ctx context.Context, key string) (o blob.Object, err error) {
	err = f.call(ctx, Stat, key, func(ctx context.Context, _ Rule) (err error) {
		o, err = f.bucket.Stat(ctx, key)
		return err
	})
	if err != nil {
		return blob.Object{}, err
	}
	return o, nil
}

func (f *Faulty) List(ctx context.Context, o blob.ListOptions) (p blob.Page, err error) {
	err = f.call(ctx, List, o.Prefix, func(ctx context.Context, _ Rule) (err error) {
		p, err = f.bucket.List(ctx, o)
		return err
	})
	if err != nil {
		return blob.Page{}, err
	}
	return p, nil
}

func (f *Faulty) Put(ctx context.Context, key string, body io.Reader, options blob.PutOptions) (o blob.Object, err error) {
	err = f.call(ctx, Put, key, func(ctx context.Context, r Rule) (err error) {
		if r.Fault == Late {
			data, err := io.ReadAll(body)
			if err != nil {
				return err
			}
			f.afterwards(ctx, r, func(ctx context.Context) {
				f.bucket.Put(ctx, key, bytes.NewReader(data), options)
			})
			return r.err()
		}
		o, err = f.bucket.Put(ctx, key, body, options)
		return err
	})
	if err != nil {
		return blob.Object{}, err
	}
	return o, nil
}

func (f *Faulty) Delete(ctx context.Context, key string) error {
	return f.call(ctx, Delete, key, func(ctx context.Context, r Rule) error {
		if r.Fault == Late {
			f.afterwards(ctx, r, func(ctx context.Context) { f.bucket.Delete(ctx, key) })
			return r.err()
		}
		return f.bucket.Delete(ctx, key)
	})
}

func (f *Faulty) AbortUploads(ctx context.Context, key string) error {
	return f.call(ctx, AbortUploads, key, func(ctx context.Context, _ Rule) error { return f.bucket.AbortUploads(ctx, key) })
}

// afterwards does a late call. Nobody hears how it ended, as it would be on a network.
func (f *Faulty) afterwards(ctx context.Context, r Rule, do func(context.Context)) {
	ctx = context.WithoutCancel(ctx)
	f.late.Go(func() {
		if r.wait(ctx) == nil {
			do(ctx)
		}
	})
}
