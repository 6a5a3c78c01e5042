package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// Dir is a Bucket in a folder of a local disk, for any number of processes of one
// host. It is not for network file systems: they lack what it stands on, which is
// that link(2) creates once and flock(2) locks.
//
//	format   names this layout
//	o/       the objects (dir_path.go)
//	tmp/     files being written; those older than a day go at the next start
//	lock/    256 files to lock keys with, for all changes but create-once
//
// A file is never changed in place, so a reader keeps what it opened. An answered Put
// has been synced to the disk: the file, its folder, and the parents of new folders.
type Dir struct {
	path  string
	root  *os.Root // no symbolic link leads out of it
	locks *dirLocks
}

const (
	formatFile = "format"
	formatText = "modelbucket dir 1\n"
	tmpFolder  = "tmp"
	tmpAge     = 24 * time.Hour
)

// OpenDir opens the store in a folder, or makes one in a folder that is empty or not
// there yet.
func OpenDir(path string) (*Dir, error) { return openDir(path, false) }

func openDir(path string, readOnly bool) (*Dir, error) {
	if !readOnly {
		if err := os.MkdirAll(path, 0o750); err != nil {
			return nil, fmt.Errorf("open store dir:%s: %w", path, diskError(err))
		}
	}
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open store dir:%s: %w", path, ErrNoBucket)
	}
	if err != nil {
		return nil, fmt.Errorf("open store dir:%s: %w", path, diskError(err))
	}
	d := &Dir{path: path, root: root, locks: newDirLocks(root)}
	if err := d.prepare(readOnly); err != nil {
		return nil, errors.Join(fmt.Errorf("open store dir:%s: %w", path, err), root.Close())
	}
	return d, nil
}

// prepare checks the layout, or lays it out.
func (d *Dir) prepare(readOnly bool) error {
	format, err := d.root.ReadFile(formatFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && readOnly:
		return fmt.Errorf("%w: the folder has no file %q, so it is no store of ours", ErrNoBucket, formatFile)
	case errors.Is(err, fs.ErrNotExist):
		if err := d.layOut(); err != nil {
			return err
		}
	case err != nil:
		return diskError(err)
	case string(format) != formatText:
		return fmt.Errorf("%w: its layout is %.40q, this program knows %q", ErrNoBucket, format, formatText)
	}
	if _, err := d.root.Lstat(strings.ToUpper(formatFile)); err == nil {
		return fmt.Errorf("%w: the disk takes upper and lower case for the same, and keys differ in it; use another disk", ErrDenied)
	}
	if readOnly {
		return nil
	}
	return d.removeOldFiles()
}

// layOut is safe beside other processes that do the same.
func (d *Dir) layOut() error {
	names, err := readNames(d.root, ".")
	if err != nil {
		return diskError(err)
	}
	for _, name := range names {
		if name != objectsFolder && name != tmpFolder && name != lockFolder && name != formatFile {
			return fmt.Errorf("%w: the folder holds other things (%s); a new store needs an empty one", ErrDenied, name)
		}
	}
	for _, folder := range []string{objectsFolder, tmpFolder, lockFolder} {
		if err := d.root.Mkdir(folder, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
			return diskError(err)
		}
	}
	tmp, err := d.write(context.Background(), strings.NewReader(formatText), -1, io.Discard)
	if err != nil {
		return err
	}
	defer d.root.Remove(tmp)
	if err := d.root.Link(tmp, formatFile); err != nil && !errors.Is(err, fs.ErrExist) {
		return diskError(err)
	}
	if err := d.syncFolder("."); err != nil {
		return err
	}
	// The folder itself may be new as well.
	parent, err := os.Open(filepath.Dir(d.path))
	if err != nil {
		return diskError(err)
	}
	return errors.Join(diskError(parent.Sync()), parent.Close())
}

func (d *Dir) removeOldFiles() error {
	names, err := readNames(d.root, tmpFolder)
	if err != nil {
		return diskError(err)
	}
	for _, name := range names {
		path := tmpFolder + "/" + name
		if info, err := d.root.Lstat(path); err != nil || time.Since(info.ModTime()) < tmpAge {
			continue // gone meanwhile, or in use
		}
		if err := d.root.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return diskError(err)
		}
	}
	return nil
}

func (d *Dir) String() string { return "dir:" + d.path }

func (d *Dir) Get(ctx context.Context, key string, r Range) (io.ReadCloser, Object, error) {
	if err := begin(ctx, key); err != nil {
		return nil, Object{}, err
	}
	if err := r.check(); err != nil {
		return nil, Object{}, err
	}
	f, o, data, err := d.open(key)
	if err != nil {
		return nil, Object{}, err
	}
	from, to, err := r.in(o.Size)
	switch {
	case err != nil:
		return nil, Object{}, errors.Join(err, f.Close())
	case data != nil:
		return io.NopCloser(bytes.NewReader(data[from:to])), o, f.Close()
	}
	return &fileBody{f: f, part: io.NewSectionReader(f, from, to-from), left: to - from}, o, nil
}

func (d *Dir) Stat(ctx context.Context, key string) (Object, error) {
	if err := begin(ctx, key); err != nil {
		return Object{}, err
	}
	f, o, _, err := d.open(key)
	if err != nil {
		return Object{}, err
	}
	return o, f.Close()
}

// open opens an object and describes it. A small one is read whole, as its ETag is
// that of its bytes: two writes within one tick of the clock must differ. data is nil
// for a large one.
func (d *Dir) open(key string) (f *os.File, o Object, data []byte, err error) {
	f, err = d.root.Open(objectPath(key))
	if err != nil {
		return nil, o, nil, missing(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, o, nil, diskError(err)
	}
	o = Object{Key: key, Size: info.Size(), Modified: info.ModTime()}
	if o.Size > MaxConditional {
		o.ETag = fileETag(info)
		return f, o, nil, nil
	}
	data = make([]byte, o.Size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, o, nil, diskError(err)
	}
	o.ETag = contentETag(data)
	return f, o, data, nil
}

// fileETag is the ETag of a large object: what changes whenever its file is replaced.
func fileETag(info fs.FileInfo) string {
	var inode uint64
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = s.Ino
	}
	return fmt.Sprintf("%x-%x-%x", info.Size(), info.ModTime().UnixNano(), inode)
}

// fileBody is a part of a large object.
type fileBody struct {
	f    *os.File
	part io.Reader
	left int64
}

func (b *fileBody) Read(p []byte) (int, error) {
	n, err := b.part.Read(p)
	b.left -= int64(n)
	switch {
	case err == io.EOF && b.left > 0: // somebody cut the file
		err = fmt.Errorf("%w: %w", ErrUnavailable, io.ErrUnexpectedEOF)
	case err != nil && err != io.EOF:
		err = diskError(err)
	}
	return n, err
}

func (b *fileBody) Close() error { return b.f.Close() }

func (d *Dir) Delete(ctx context.Context, key string) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	path := objectPath(key)
	unlock, err := d.locks.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	switch err := missing(d.root.Remove(path)); {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	// Folders that are empty now go too; a writer that needs one makes it again.
	folder := parentFolder(path)
	for folder != objectsFolder && d.root.Remove(folder) == nil {
		folder = parentFolder(folder)
	}
	return d.syncFolder(folder)
}

// AbortUploads has nothing to do: what a Put leaves in tmp/ goes at a start.
func (d *Dir) AbortUploads(ctx context.Context, key string) error { return begin(ctx, key) }

func parentFolder(path string) string { return path[:strings.LastIndexByte(path, '/')] }

func newTmp() string { return tmpFolder + "/" + uuid.NewString() }

// syncFolder makes the names in a folder durable. One that is gone had none left.
func (d *Dir) syncFolder(folder string) error {
	f, err := d.root.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return diskError(err)
	}
	return errors.Join(diskError(f.Sync()), diskError(f.Close()))
}

// missing is diskError where an absent file means an absent object.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return ErrNotFound
	}
	return diskError(err)
}

// diskError gives an error of the operating system its kind.
func diskError(err error) error {
	kind := ErrUnavailable
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		kind = ErrFull
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		kind = ErrDenied
	case errors.Is(err, syscall.ENAMETOOLONG):
		kind = ErrInvalidKey
	case errors.Is(err, fs.ErrNotExist):
		kind = ErrNoBucket
	}
	return fmt.Errorf("%w: %w", kind, err)
}
