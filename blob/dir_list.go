package blob

import (
	"container/heap"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// List reads whole folders, but only those in which the page may lie, and sorts no
// more of them than the page needs.
func (d *Dir) List(ctx context.Context, o ListOptions) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	if err := o.check(); err != nil {
		return Page{}, err
	}
	l := &dirListing{dir: d, options: o}
	base := o.Prefix[:strings.LastIndexByte(o.Prefix, '/')+1]
	_, err := l.folder(ctx, base)
	if err != nil {
		return Page{}, err
	}
	return l.page, nil
}

type dirListing struct {
	dir     *Dir
	options ListOptions
	page    Page
	last    string // entry
}

// folder adds what lies below a prefix that ends in "/"; done means that the page is
// full.
func (l *dirListing) folder(ctx context.Context, prefix string) (done bool, err error) {
	if err := ctx.Err(); err != nil {
		return true, err
	}
	path := folderPath(prefix)
	names, err := readNames(l.dir.root, path)
	if err != nil {
		return true, diskError(err)
	}
	rest := "" // of the listing's prefix, within this folder
	if len(l.options.Prefix) > len(prefix) {
		rest = l.options.Prefix[len(prefix):]
	}
	entries := make(entryHeap, 0, len(names))
	for _, name := range names {
		e := decodeName(name)
		if strings.HasPrefix(e.name, rest) && l.wants(prefix, e) {
			entries = append(entries, e)
		}
	}
	heap.Init(&entries)
	for len(entries) > 0 && !done && err == nil {
		e := heap.Pop(&entries).(dirEntry)
		switch {
		case !e.folder:
			done, err = l.object(prefix+e.name, path+"/"+e.name+"=")
		case l.options.Delimiter != "":
			done, err = l.prefix(prefix + e.name + "/")
		case l.full():
			done = true // whether anything follows is not worth reading a folder
		default:
			done, err = l.folder(ctx, prefix+e.name+"/")
		}
	}
	return done, err
}

// wants tells whether anything of an entry comes after StartAfter.
func (l *dirListing) wants(prefix string, e dirEntry) bool {
	after := l.options.StartAfter
	if len(after) < len(prefix) || after[:len(prefix)] != prefix {
		return after < prefix
	}
	if after = after[len(prefix):]; after == "" {
		return true
	}
	first, _, within := strings.Cut(after, "/")
	if e.folder && within && first == e.name {
		return l.options.Delimiter == ""
	}
	if e.folder {
		return after < e.name+"/"
	}
	return after < e.name
}

func (l *dirListing) full() bool {
	if len(l.page.Objects)+len(l.page.Prefixes) < l.options.Limit {
		return false
	}
	l.page.Next = l.last
	return true
}

func (l *dirListing) object(key, path string) (done bool, err error) {
	info, err := l.dir.root.Lstat(path)
	if err != nil {
		if errors.Is(missing(err), ErrNotFound) {
			return false, nil // deleted meanwhile
		}
		return true, diskError(err)
	}
	if l.full() {
		return true, nil
	}
	l.last = key
	l.page.Objects = append(l.page.Objects, Object{Key: key, Size: info.Size(), Modified: info.ModTime()})
	return false, nil
}

func (l *dirListing) prefix(prefix string) (done bool, err error) {
	holds, err := l.dir.holds(folderPath(prefix))
	if err != nil || !holds {
		return err != nil, err
	}
	if l.full() {
		return true, nil
	}
	l.last = prefix
	l.page.Prefixes = append(l.page.Prefixes, prefix)
	return false, nil
}

// holds tells whether there is an object anywhere below a folder.
func (d *Dir) holds(path string) (bool, error) {
	names, err := readNames(d.root, path)
	if err != nil {
		return false, diskError(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "=") {
			return true, nil
		}
	}
	for _, name := range names {
		if holds, err := d.holds(path + "/" + name); holds || err != nil {
			return holds, err
		}
	}
	return false, nil
}

// readNames reads a folder. One that is absent, or no folder at all, is empty: it may
// have gone since its name was read, or since it was opened.
func readNames(root *os.Root, path string) ([]string, error) {
	f, err := root.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		names, err = nil, nil
	}
	return names, errors.Join(err, f.Close())
}

// entryHeap gives entries in order, as many as are asked for.
type entryHeap []dirEntry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].less(h[j]) }
func (h entryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *entryHeap) Push(x any)        { *h = append(*h, x.(dirEntry)) }
func (h *entryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	*h = (*h)[:last]
	return e
}
