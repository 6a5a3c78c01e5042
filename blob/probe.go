package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// ProbeReport says what a store was asked to prove.
type ProbeReport struct {
	Store  string       `json:"store"`
	Checks []ProbeCheck `json:"checks"`
}

// ProbeCheck is one of the promises that the registry stands on.
type ProbeCheck struct {
	Name     string        `json:"name"`
	Outcome  string        `json:"outcome"` // kept, broken, failed (it could not be found out)
	Detail   string        `json:"detail,omitempty"`
	Duration time.Duration `json:"duration_ns"`
}

// The checks in the order in which they are made. Each begins with an empty folder.
var probes = []struct {
	name string
	run  func(probe, context.Context) error
}{
	{"read after write", probe.readAfterWrite},
	{"create once", probe.createOnce},
	{"create once, eight at a time", probe.createAtOnce},
	{"compare and swap", probe.compareAndSwap},
	{"listed at once", probe.listedAtOnce},
	{"listed in order", probe.listedInOrder},
	{"deleted at once", probe.deletedAtOnce},
}

// Probe makes a store prove what the registry stands on, under keys that begin with
// _system/probe/ and are removed again. All checks are made even when one fails; the
// error names the first broken one (ErrBroken), or the first that could not be made.
func Probe(ctx context.Context, b Bucket) (ProbeReport, error) {
	report := ProbeReport{Store: b.String()}
	folder := "_system/probe/" + uuid.NewString() + "/"
	var first error
	run := func(name string, f func() error) {
		began := time.Now()
		c := ProbeCheck{Name: name, Outcome: "kept"}
		if err := f(); err != nil {
			c.Outcome, c.Detail = "failed", err.Error()
			if errors.Is(err, ErrBroken) {
				c.Outcome = "broken"
			}
			if first == nil || c.Outcome == "broken" && !errors.Is(first, ErrBroken) {
				first = fmt.Errorf("probe %s: %s: %w", b, name, err)
			}
		}
		c.Duration = time.Since(began)
		report.Checks = append(report.Checks, c)
	}
	for i, p := range probes {
		run(p.name, func() error { return p.run(probe{b, fmt.Sprintf("%s%d/", folder, i)}, ctx) })
	}
	run("cleaned up", func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return removeAll(ctx, b, folder)
	})
	return report, first
}

func removeAll(ctx context.Context, b Bucket, prefix string) error {
	for o := (ListOptions{Prefix: prefix}); ; {
		page, err := b.List(ctx, o)
		if err != nil {
			return err
		}
		for _, object := range page.Objects {
			if err := b.Delete(ctx, object.Key); err != nil {
				return err
			}
		}
		if o.StartAfter = page.Next; o.StartAfter == "" {
			return nil
		}
	}
}

type probe struct {
	bucket Bucket
	folder string
}

func broken(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, a...))
}

// refused checks that a write was refused with want, and not let through.
func refused(what string, err, want error) error {
	switch {
	case err == nil:
		return broken("%s was let through", what)
	case errors.Is(err, want):
		return nil
	case errors.Is(err, ErrPrecondition), errors.Is(err, ErrNotFound):
		return broken("%s was refused with %q, not with %q", what, err, want)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (p probe) put(ctx context.Context, name, content string, o PutOptions) (Object, error) {
	o.Size = int64(len(content))
	return p.bucket.Put(ctx, p.folder+name, strings.NewReader(content), o)
}

// holds checks what is under a name now.
func (p probe) holds(ctx context.Context, name, content, etag string) error {
	body, o, err := p.bucket.Get(ctx, p.folder+name, Range{})
	if errors.Is(err, ErrNotFound) {
		return broken("an object that was written is not found")
	}
	if err != nil {
		return err
	}
	data, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return err
	}
	if string(data) != content {
		return broken("read %q where %q was written last", data, content)
	}
	stat, err := p.bucket.Stat(ctx, p.folder+name)
	switch {
	case err != nil:
		return err
	case o.ETag != etag || stat.ETag != etag:
		return broken("the ETag is %q when written, %q when read, %q when asked for", etag, o.ETag, stat.ETag)
	case stat.Size != int64(len(content)):
		return broken("%d bytes were written, the store says %d", len(content), stat.Size)
	}
	return nil
}

func (p probe) readAfterWrite(ctx context.Context) error {
	etags := map[string]bool{}
	for i := range 3 {
		content := strings.Repeat("written ", i+1)
		o, err := p.put(ctx, "k", content, PutOptions{})
		if err != nil {
			return err
		}
		if err := p.holds(ctx, "k", content, o.ETag); err != nil {
			return err
		}
		if etags[o.ETag] {
			return broken("the ETag did not change with the content")
		}
		etags[o.ETag] = true
	}
	return nil
}

func (p probe) createOnce(ctx context.Context) error {
	o, err := p.put(ctx, "k", "first", PutOptions{IfAbsent: true})
	if err != nil {
		return err
	}
	_, err = p.put(ctx, "k", "second", PutOptions{IfAbsent: true})
	if err := refused("a second create of one key", err, ErrPrecondition); err != nil {
		return err
	}
	return p.holds(ctx, "k", "first", o.ETag)
}

func (p probe) createAtOnce(ctx context.Context) error {
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = p.put(ctx, "k", fmt.Sprint("writer ", i), PutOptions{IfAbsent: true}) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, ErrPrecondition):
			return err
		}
	}
	if won != 1 {
		return broken("of %d writers that create one key at once %d were told that they did it", len(errs), won)
	}
	return nil
}

func (p probe) compareAndSwap(ctx context.Context) error {
	first, err := p.put(ctx, "k", "1", PutOptions{})
	if err != nil {
		return err
	}
	second, err := p.put(ctx, "k", "2", PutOptions{IfMatch: first.ETag})
	if errors.Is(err, ErrPrecondition) || errors.Is(err, ErrNotFound) {
		return broken("a write on condition of the present ETag was refused: %v", err)
	}
	if err != nil {
		return err
	}
	_, err = p.put(ctx, "k", "3", PutOptions{IfMatch: first.ETag})
	if err := refused("a write on condition of an earlier ETag", err, ErrPrecondition); err != nil {
		return err
	}
	if err := p.holds(ctx, "k", "2", second.ETag); err != nil {
		return err
	}
	_, err = p.put(ctx, "absent", "3", PutOptions{IfMatch: first.ETag})
	return refused("a write on condition of an ETag, where there is no object", err, ErrNotFound)
}

func (p probe) list(ctx context.Context, o ListOptions) (entries []string, err error) {
	o.Prefix = p.folder
	for {
		page, err := p.bucket.List(ctx, o)
		if err != nil {
			return nil, err
		}
		found := page.Prefixes
		for _, object := range page.Objects {
			found = append(found, object.Key)
		}
		for _, e := range slices.Sorted(slices.Values(found)) {
			entries = append(entries, strings.TrimPrefix(e, p.folder))
		}
		if page.Next == "" {
			return entries, nil
		}
		if page.Next <= o.StartAfter {
			return nil, broken("a listing goes on after %q where it was asked to go on after %q", page.Next, o.StartAfter)
		}
		o.StartAfter = page.Next
	}
}

func (p probe) listedAtOnce(ctx context.Context) error {
	for i := range 3 {
		name := fmt.Sprint("k", i)
		if _, err := p.put(ctx, name, "x", PutOptions{}); err != nil {
			return err
		}
		entries, err := p.list(ctx, ListOptions{})
		if err != nil {
			return err
		}
		if !slices.Contains(entries, name) {
			return broken("a key that was written is not listed")
		}
	}
	return nil
}

func (p probe) listedInOrder(ctx context.Context) error {
	for _, name := range []string{"a0/x", "a/y", "a-b/x", "a/x", "A/x"} {
		if _, err := p.put(ctx, name, "x", PutOptions{}); err != nil {
			return err
		}
	}
	for _, c := range []struct {
		o    ListOptions
		want []string
	}{
		{ListOptions{}, []string{"A/x", "a-b/x", "a/x", "a/y", "a0/x"}},
		{ListOptions{Limit: 2}, []string{"A/x", "a-b/x", "a/x", "a/y", "a0/x"}},
		{ListOptions{StartAfter: p.folder + "a/x"}, []string{"a/y", "a0/x"}},
		{ListOptions{Delimiter: "/"}, []string{"A/", "a-b/", "a/", "a0/"}},
		{ListOptions{Delimiter: "/", Limit: 1}, []string{"A/", "a-b/", "a/", "a0/"}},
	} {
		got, err := p.list(ctx, c.o)
		if err != nil {
			return err
		}
		if !slices.Equal(got, c.want) {
			return broken("it lists %q, in order would be %q", got, c.want)
		}
	}
	return nil
}

func (p probe) deletedAtOnce(ctx context.Context) error {
	if _, err := p.put(ctx, "a/k", "x", PutOptions{}); err != nil {
		return err
	}
	if err := p.bucket.Delete(ctx, p.folder+"a/k"); err != nil {
		return err
	}
	if _, err := p.bucket.Stat(ctx, p.folder+"a/k"); err == nil {
		return broken("an object that was deleted is still there")
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	entries, err := p.list(ctx, ListOptions{Delimiter: "/"})
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return broken("it still lists %q after the last object there was deleted", entries)
	}
	return nil
}
