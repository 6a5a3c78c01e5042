package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Retry is the one layer that repeats calls that failed with ErrUnavailable: up to
// five tries with random pauses (50 ms doubling up to 2 s), as long as the context and
// a budget allow; retries are at most a tenth of the calls that succeed. After 20 failures
// in a row calls fail at once (ErrNotSent), but for one each second. log hears of that.
//
// A call whose answer does not begin within 15 s (4 s while the store is away), or in
// that time is not whole where it is small, is ErrUnavailable, however many tries were
// made in that time: whoever waits has waited enough. Bodies that stream have no limit
// here.
//
// Get, Stat, List, Delete and AbortUploads are repeated; a body that breaks off goes on
// where it was, if the object is still the same. A Put is repeated if it has no
// condition and its body can be rewound. One with a condition never is, except where
// nothing was sent: after an unclear answer only its object can tell what happened, and
// only the caller knows what to look for.
func Retry(b Bucket, log *slog.Logger) Bucket {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &retrying{b, &circuit{log: log, budget: budgetMost}}
}

type retrying struct {
	bucket  Bucket
	circuit *circuit
}

const maxTries = 5

var errNoAnswer = fmt.Errorf("%w: no answer in time", ErrUnavailable)

// timed gives f a context that is over after limit, unless f has returned by then;
// end is to be called when the context is not needed any more.
func timed(ctx context.Context, limit time.Duration, f func(context.Context) error) (end func(), err error) {
	limited, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errNoAnswer) })
	err = f(limited)
	if !timer.Stop() && ctx.Err() == nil {
		err = errNoAnswer
	}
	return func() { cancel(nil) }, err
}

// do calls f until it gives an answer, for as long as patience lasts (0: no end); limit
// is what is left of it, or less. again tells whether a failure may be repeated.
func (b *retrying) do(ctx context.Context, patience time.Duration, f func(limit time.Duration) error, again func(error) bool) error {
	patient, end := ctx, time.Time{}
	if patience > 0 {
		end = time.Now().Add(patience)
		var cancel func()
		patient, cancel = context.WithDeadline(ctx, end)
		defer cancel()
	}
	var unclear error // of an earlier try, which may have reached the store
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		limit, err := b.circuit.enter()
		refused := err != nil
		if !refused {
			if patience > 0 {
				limit = min(limit, time.Until(end))
			}
			err = f(limit)
			b.circuit.leave(err)
		}
		switch {
		case errors.Is(err, ErrNotSent) && unclear != nil:
			err = fmt.Errorf("%w (and then: %v)", unclear, err)
		case errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrNotSent):
			unclear = err
		}
		if refused || err == nil || !errors.Is(err, ErrUnavailable) || errors.Is(err, errNoAnswer) || try == maxTries || !again(err) || !b.circuit.spend() {
			return err
		}
		if wait(patient, try) != nil {
			if ctx.Err() == nil {
				return err
			}
			return fmt.Errorf("%w (after: %v)", ctx.Err(), err)
		}
	}
}

// ask makes a call whose answer is small.
func (b *retrying) ask(ctx context.Context, f func(context.Context) error) error {
	return b.do(ctx, answerTime, func(limit time.Duration) error {
		end, err := timed(ctx, limit, f)
		end()
		return err
	}, always)
}

func always(error) bool { return true }

func (b *retrying) String() string { return b.bucket.String() }

func (b *retrying) Stat(ctx context.Context, key string) (o Object, err error) {
	err = b.ask(ctx, func(ctx context.Context) (err error) { o, err = b.bucket.Stat(ctx, key); return err })
	return o, err
}

func (b *retrying) List(ctx context.Context, o ListOptions) (page Page, err error) {
	err = b.ask(ctx, func(ctx context.Context) (err error) { page, err = b.bucket.List(ctx, o); return err })
	return page, err
}

func (b *retrying) Delete(ctx context.Context, key string) error {
	return b.ask(ctx, func(ctx context.Context) error { return b.bucket.Delete(ctx, key) })
}

func (b *retrying) AbortUploads(ctx context.Context, key string) error {
	return b.ask(ctx, func(ctx context.Context) error { return b.bucket.AbortUploads(ctx, key) })
}

func (b *retrying) Put(ctx context.Context, key string, body io.Reader, options PutOptions) (o Object, err error) {
	seeker, start := rewindable(body, options)
	first := true
	patience := answerTime
	if seeker == nil || options.Size > smallPart {
		patience = 0 // it takes as long as its body does
	}
	err = b.do(ctx, patience, func(limit time.Duration) (err error) {
		if !first {
			if _, err := seeker.Seek(start, io.SeekStart); err != nil {
				return err
			}
		}
		first = false
		put := func(ctx context.Context) (err error) { o, err = b.bucket.Put(ctx, key, body, options); return err }
		if patience == 0 {
			return put(ctx)
		}
		end, err := timed(ctx, limit, put)
		end()
		return err
	}, func(err error) bool {
		return seeker != nil && (!options.conditional() || errors.Is(err, ErrNotSent))
	})
	return o, err
}

// rewindable finds the place from which a body can be read again. A large body is not
// sent again as a whole: the driver sends its parts again.
func rewindable(body io.Reader, o PutOptions) (io.Seeker, int64) {
	seeker, ok := body.(io.Seeker)
	if !ok || o.Size < 0 || o.Size > partSize {
		return nil, 0
	}
	start, err := seeker.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, 0
	}
	return seeker, start
}

// Get reads a small part whole before it returns, so that what breaks off is read anew
// even if the object has been replaced meanwhile.
func (b *retrying) Get(ctx context.Context, key string, r Range) (body io.ReadCloser, o Object, err error) {
	var from, to int64
	var end func()
	err = b.do(ctx, answerTime, func(limit time.Duration) (err error) {
		body = nil
		end, err = timed(ctx, limit, func(ctx context.Context) error {
			if body, o, err = b.bucket.Get(ctx, key, r); err != nil {
				return err
			}
			if from, to, err = r.in(o.Size); err != nil || to-from > smallPart {
				return err
			}
			data := make([]byte, to-from)
			_, err = io.ReadFull(body, data)
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = fmt.Errorf("%w: %w", ErrUnavailable, io.ErrUnexpectedEOF)
			}
			err = errors.Join(err, body.Close())
			body = io.NopCloser(bytes.NewReader(data))
			return err
		})
		if err != nil && body != nil {
			err = errors.Join(err, body.Close())
		}
		if err != nil {
			end()
		}
		return err
	}, always)
	switch {
	case err != nil:
		return nil, Object{}, err
	case to-from <= smallPart:
		end()
		return body, o, nil
	}
	return &resumingBody{bucket: b, ctx: ctx, object: o, body: &timedBody{body, end}, at: from, to: to}, o, nil
}

// timedBody is a body that came in time, and ends the context that saw to it.
type timedBody struct {
	io.ReadCloser
	end func()
}

func (b *timedBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

const smallPart = 64 << 10 // bytes

// resumingBody is a part of an object from at to to. Its tries are counted anew once
// bytes have come.
type resumingBody struct {
	bucket *retrying
	ctx    context.Context // of the Get
	object Object
	body   io.ReadCloser
	at, to int64
	try    int
}

func (b *resumingBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.at += int64(n)
	if n > 0 {
		b.try = 0
	}
	switch {
	case err == nil || err == io.EOF && b.at == b.to:
		return n, err
	case err == io.EOF:
		err = fmt.Errorf("%w: %w", ErrUnavailable, io.ErrUnexpectedEOF)
	}
	if b.at == b.to { // all came before it broke
		return n, io.EOF
	}
	return n, b.resume(err)
}

// resume goes on in a new body, or returns why it can't.
func (b *resumingBody) resume(err error) error {
	again := errors.Is(err, ErrUnavailable) || errors.Is(err, io.ErrUnexpectedEOF)
	if b.try++; !again || b.object.ETag == "" || b.try == maxTries || !b.bucket.circuit.spend() {
		return err
	}
	if wait(b.ctx, b.try) != nil {
		return b.ctx.Err()
	}
	limit, refused := b.bucket.circuit.enter()
	if refused != nil {
		return err
	}
	var body io.ReadCloser
	var o Object
	end, openErr := timed(b.ctx, limit, func(ctx context.Context) (err error) {
		body, o, err = b.bucket.bucket.Get(ctx, b.object.Key, Range{b.at, b.to - b.at})
		return err
	})
	b.bucket.circuit.leave(openErr)
	if openErr != nil {
		end()
		if errors.Is(openErr, ErrUnavailable) && !errors.Is(openErr, errNoAnswer) {
			return b.resume(openErr)
		}
		return err
	}
	if o.ETag != b.object.ETag || o.Size != b.object.Size {
		end()
		return errors.Join(fmt.Errorf("%w; the object was replaced meanwhile", err), body.Close())
	}
	old := b.body
	b.body = &timedBody{body, end}
	old.Close() // broken already
	return nil
}

func (b *resumingBody) Close() error { return b.body.Close() }
