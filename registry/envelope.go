package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"modelbucket/blob"
)

// Every JSON object is an envelope: what format it has, where it belongs, and the
// digest of its body's bytes. A reader checks all three, and that the bytes are in the
// one form in which an envelope is written, so that any flipped bit, or an object that
// lies where it does not belong, is found before it is believed.
type envelope struct {
	Format int             `json:"format"`
	Key    string          `json:"key"`
	SHA256 string          `json:"sha256"`
	Body   json.RawMessage `json:"body"`
}

// formatVersion is the highest format that this program reads, and the one it writes.
const formatVersion = 1

// maxObject bounds every JSON object, in bytes: what is larger is neither read nor written.
const maxObject = 8 << 20

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// seal makes the bytes to be stored under key.
func seal(key string, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", key, err)
	}
	head, err := head(key)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", key, err)
	}
	data := append(make([]byte, 0, len(head)+len(raw)+128), head...)
	data = append(append(append(data, hexSHA256(raw)...), middle...), raw...)
	if data = append(data, '}'); len(data) > maxObject {
		return nil, fmt.Errorf("%w: %s would have %d bytes, it may have %d", ErrTooLarge, key, len(data), maxObject)
	}
	return data, nil
}

// An envelope is head, digest, middle, body and "}", without a space.
func head(key string) ([]byte, error) {
	name, err := json.Marshal(key)
	return fmt.Appendf(nil, `{"format":%d,"key":%s,"sha256":"`, formatVersion, name), err
}

const middle = `","body":`

// unseal checks the bytes found under key and decodes their body into dst. Unknown
// fields of the body are ignored: a newer node may have written it.
func unseal(key string, data []byte, dst any) error {
	head, err := head(key)
	if err != nil {
		return corrupt(key, "no object of ours can have this key")
	}
	rest, ours := bytes.CutPrefix(data, head)
	sum, rest, found := bytes.Cut(rest, []byte(middle))
	body, closed := bytes.CutSuffix(rest, []byte("}"))
	if !ours || !found || !closed || string(sum) != hexSHA256(body) {
		return corrupt(key, "%s", fault(key, data))
	}
	if err := json.Unmarshal(body, dst); err != nil {
		return corrupt(key, "its body does not have the shape of its kind")
	}
	return nil
}

// fault says what is wrong with bytes that are no envelope of key.
func fault(key string, data []byte) string {
	var e envelope
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return "not one of our JSON envelopes"
	}
	if _, err := d.Token(); err != io.EOF {
		return "bytes after the JSON envelope"
	}
	switch {
	case e.Format > formatVersion:
		return fmt.Sprintf("has format %d, this program reads up to %d: run a newer one", e.Format, formatVersion)
	case e.Format < 1:
		return "has no format"
	case e.Key != key:
		return "says that it belongs elsewhere"
	case e.SHA256 != hexSHA256(e.Body):
		return "its body does not have the digest that it names"
	}
	return "its envelope is not as one of ours is written"
}

// readAll reads one small object whole.
func (r *Registry) readAll(ctx context.Context, key string) ([]byte, blob.Object, error) {
	body, o, err := r.bucket.Get(ctx, key, blob.Range{})
	if err != nil {
		return nil, o, fmt.Errorf("read %s: %w", key, err)
	}
	defer body.Close()
	if o.Size > maxObject {
		return nil, o, corrupt(key, "%d bytes are more than any object of ours has", o.Size)
	}
	data, err := io.ReadAll(io.LimitReader(body, maxObject+1))
	if err != nil {
		return nil, o, fmt.Errorf("read %s: %w", key, err)
	}
	if int64(len(data)) != o.Size {
		return nil, o, fmt.Errorf("read %s: %w: %d of %d bytes", key, blob.ErrUnavailable, len(data), o.Size)
	}
	return data, o, nil
}

// read decodes the object under key into dst. What does not fit its envelope is read
// once more, as the damage may have been the line's, and is ErrCorrupt then.
func (r *Registry) read(ctx context.Context, key string, dst any) (blob.Object, error) {
	_, o, err := r.readSound(ctx, key, dst)
	return o, err
}

// readSound is read, with the bytes that were found.
func (r *Registry) readSound(ctx context.Context, key string, dst any) (data []byte, o blob.Object, err error) {
	for range 2 {
		if data, o, err = r.readAll(ctx, key); err != nil {
			return nil, o, err
		}
		if err = unseal(key, data, dst); err == nil {
			return data, o, nil
		}
	}
	return nil, blob.Object{}, err
}

// exists tells whether key is there.
func (r *Registry) exists(ctx context.Context, key string) (bool, error) {
	_, err := r.bucket.Stat(ctx, key)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for %s: %w", key, err)
	}
	return true, nil
}

// put writes an object that nobody else writes, without a condition.
func (r *Registry) put(ctx context.Context, key string, data []byte) error {
	_, err := r.bucket.Put(ctx, key, bytes.NewReader(data), blob.PutOptions{Size: int64(len(data))})
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// errUndecided: a conditional write was sent and its fate is not known.
var errUndecided = errors.New("not decided")

// create writes data under key if nothing is there. It returns nil when the object
// now there is ours (a lost answer is settled by reading it back), the bytes found
// when it is another's, and errUndecided when it went out and the context or
// createTimeout ends before its fate is known. data must be unique to the caller (a
// folder, a nonce), or mean the same from anyone.
func (r *Registry) create(ctx context.Context, key string, data []byte) (theirs []byte, err error) {
	return r.createIn(ctx, key, data, math.MaxInt)
}

// createIn is create, which gives up after so many tries.
func (r *Registry) createIn(ctx context.Context, key string, data []byte, tries int) (theirs []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	sent := false
	undecided := func(err error) error {
		if sent {
			return fmt.Errorf("create %s: %w: %w", key, errUndecided, err)
		}
		return fmt.Errorf("create %s: %w", key, err)
	}
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return nil, undecided(err)
		}
		_, err := r.bucket.Put(ctx, key, bytes.NewReader(data), blob.PutOptions{Size: int64(len(data)), IfAbsent: true})
		switch {
		case err == nil:
			return nil, nil
		case errors.Is(err, blob.ErrNotSent):
			if !sent {
				return nil, undecided(err)
			}
		case errors.Is(err, blob.ErrUnavailable), errors.Is(err, blob.ErrPrecondition), ctx.Err() != nil:
			sent = true // what is in the way may be the same request, sent twice on its way
		default:
			return nil, undecided(err)
		}
		// Ours from an earlier try, or another's? Only the object itself can tell.
		// What the line damaged must not pass for another's.
		found, _, readErr := r.readSound(ctx, key, new(json.RawMessage))
		switch {
		case readErr == nil && bytes.Equal(found, data):
			return nil, nil
		case readErr == nil:
			return found, nil
		case errors.Is(readErr, ErrCorrupt):
			return nil, undecided(readErr)
		}
		// Absent, after an unclear answer, is not "no": the request may still be on its
		// way. Only the same write again can settle it.
		if try == tries {
			return nil, undecided(err)
		}
		if waitErr := r.pause(ctx, retryPause); waitErr != nil {
			return nil, undecided(errors.Join(err, waitErr))
		}
	}
}
