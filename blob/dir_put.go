package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
)

// Put writes the whole file in tmp/ first and gives it its name then, by link(2) for
// create-once and by rename(2) under the key's lock for all else. The lock is needed
// without a condition too: between compare and rename of another nothing may change.
func (d *Dir) Put(ctx context.Context, key string, body io.Reader, o PutOptions) (Object, error) {
	if err := begin(ctx, key); err != nil {
		return Object{}, err
	}
	if err := o.check(); err != nil {
		return Object{}, err
	}
	body = &sizedBody{body: body, size: o.Size}
	if o.conditional() {
		data, err := io.ReadAll(body)
		if err != nil {
			return Object{}, err
		}
		// Who has lost already need not wait for the disk.
		if err := d.decide(key, o); err != nil {
			return Object{}, err
		}
		body = bytes.NewReader(data)
	}
	sum := &startHash{hash: sha256.New()}
	tmp, err := d.write(ctx, body, o.Size, sum)
	if err != nil {
		return Object{}, err
	}
	info, err := d.publish(ctx, tmp, key, o)
	if err != nil {
		return Object{}, errors.Join(err, d.discard(tmp))
	}
	etag := fileETag(info)
	if info.Size() <= MaxConditional {
		etag = sum.etag()
	}
	return Object{Key: key, Size: info.Size(), ETag: etag, Modified: info.ModTime()}, nil
}

// decide tells whether the condition holds now.
func (d *Dir) decide(key string, o PutOptions) error {
	if o.IfAbsent {
		_, err := d.root.Lstat(objectPath(key))
		switch err = missing(err); {
		case err == nil:
			return fmt.Errorf("%w: the object exists", ErrPrecondition)
		case errors.Is(err, ErrNotFound):
			return nil
		}
		return err
	}
	if o.IfMatch == "" {
		return nil
	}
	f, now, _, err := d.open(key)
	if err != nil {
		return err
	}
	if now.ETag != o.IfMatch {
		err = fmt.Errorf("%w: the object has changed", ErrPrecondition)
	}
	return errors.Join(err, f.Close())
}

// write puts a body of size bytes (-1: unknown) into a new file in tmp/ and syncs it.
func (d *Dir) write(ctx context.Context, body io.Reader, size int64, sum io.Writer) (tmp string, err error) {
	tmp = newTmp()
	f, err := d.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return "", diskError(err)
	}
	n := int64(copyBuffer)
	if size >= 0 {
		n = min(n, size+1)
	}
	err = copyBody(ctx, f, body, sum, make([]byte, n))
	if err == nil {
		err = diskError(f.Sync()) // an error here is final: a second sync might say yes to lost pages
	}
	if err == nil {
		err = ctx.Err()
	}
	if closeErr := f.Close(); err == nil {
		err = diskError(closeErr)
	}
	if err != nil {
		return "", errors.Join(err, d.discard(tmp))
	}
	return tmp, nil
}

func (d *Dir) discard(tmp string) error {
	if err := d.root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError(err)
	}
	return nil
}

const copyBuffer = 256 << 10 // bytes

// copyBody returns the body's own error as it is.
func copyBody(ctx context.Context, f *os.File, body io.Reader, sum io.Writer, buffer []byte) error {
	for {
		n, err := body.Read(buffer)
		if n > 0 {
			if _, err := sum.Write(buffer[:n]); err != nil {
				return err
			}
			if _, err := f.Write(buffer[:n]); err != nil {
				return diskError(err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// startHash digests no more than an object can have whose ETag is its digest.
type startHash struct {
	hash hash.Hash
	n    int64
}

func (s *startHash) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	if s.n <= MaxConditional {
		s.hash.Write(p)
	}
	return len(p), nil
}

func (s *startHash) etag() string { return hex.EncodeToString(s.hash.Sum(nil)[:16]) }

// publish gives the file its name and makes the name durable.
func (d *Dir) publish(ctx context.Context, tmp, key string, o PutOptions) (fs.FileInfo, error) {
	info, err := d.root.Lstat(tmp)
	if err != nil {
		return nil, diskError(err)
	}
	path := objectPath(key)
	name := func() error { return d.root.Link(tmp, path) }
	if !o.IfAbsent {
		unlock, err := d.locks.lock(ctx, key)
		if err != nil {
			return nil, err
		}
		defer unlock()
		if err := d.decide(key, o); err != nil {
			return nil, err
		}
		name = func() error { return d.root.Rename(tmp, path) }
	}
	folder := parentFolder(path)
	highest := folder // whose names have changed
	for range 100 {
		err = name()
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		// No folder yet, or a Delete has just taken it away.
		made, err := d.makeFolders(folder)
		if err != nil {
			return nil, err
		}
		if len(made) < len(highest) {
			highest = made
		}
	}
	if o.IfAbsent && errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: the object exists", ErrPrecondition)
	}
	if err != nil {
		return nil, diskError(err)
	}
	for {
		if err := d.syncFolder(folder); err != nil {
			return nil, err
		}
		if folder == highest {
			break
		}
		folder = parentFolder(folder)
	}
	if o.IfAbsent {
		return info, d.discard(tmp)
	}
	return info, nil
}

// makeFolders makes what is missing of a folder's path and returns the folder in which
// the highest new one lies.
func (d *Dir) makeFolders(folder string) (in string, err error) {
	err = d.root.Mkdir(folder, 0o750)
	switch {
	case err == nil:
		return parentFolder(folder), nil
	case errors.Is(err, fs.ErrExist):
		return folder, nil
	case !errors.Is(err, fs.ErrNotExist) || folder == objectsFolder:
		return "", diskError(err)
	}
	if in, err = d.makeFolders(parentFolder(folder)); err != nil {
		return "", err
	}
	if err := d.root.Mkdir(folder, 0o750); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return "", diskError(err)
	}
	return in, nil
}
