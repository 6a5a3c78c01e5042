package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a Bucket that lives as long as the process: for tests and for trying out.
// Like S3 it derives the ETag from the content alone, so that the same bytes have the
// same ETag.
type Memory struct {
	mu      sync.RWMutex
	objects map[string]memoryObject
	keys    sortedKeys
}

type memoryObject struct {
	Object
	data []byte // never changed
}

// NewMemory makes an empty one.
func NewMemory() *Memory { return &Memory{objects: map[string]memoryObject{}} }

func (m *Memory) String() string { return "memory:" }

func (m *Memory) find(ctx context.Context, key string) (memoryObject, error) {
	if err := begin(ctx, key); err != nil {
		return memoryObject{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.objects[key]
	if !ok {
		return memoryObject{}, ErrNotFound
	}
	return o, nil
}

func (m *Memory) Get(ctx context.Context, key string, r Range) (io.ReadCloser, Object, error) {
	o, err := m.find(ctx, key)
	if err != nil {
		return nil, Object{}, err
	}
	from, to, err := r.in(o.Size)
	if err != nil {
		return nil, Object{}, err
	}
	return io.NopCloser(bytes.NewReader(o.data[from:to])), o.Object, nil
}

func (m *Memory) Stat(ctx context.Context, key string) (Object, error) {
	o, err := m.find(ctx, key)
	return o.Object, err
}

func (m *Memory) Put(ctx context.Context, key string, body io.Reader, o PutOptions) (Object, error) {
	if err := begin(ctx, key); err != nil {
		return Object{}, err
	}
	if err := o.check(); err != nil {
		return Object{}, err
	}
	data, err := io.ReadAll(&sizedBody{body: body, size: o.Size})
	if err != nil {
		return Object{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Object{}, err
	}
	old, there := m.objects[key]
	switch {
	case o.IfAbsent && there:
		return Object{}, fmt.Errorf("%w: the object exists", ErrPrecondition)
	case o.IfMatch != "" && !there:
		return Object{}, ErrNotFound
	case o.IfMatch != "" && o.IfMatch != old.ETag:
		return Object{}, fmt.Errorf("%w: the object has changed", ErrPrecondition)
	}
	next := Object{Key: key, Size: int64(len(data)), ETag: contentETag(data), Modified: time.Now()}
	m.objects[key] = memoryObject{next, data}
	if !there {
		m.keys.add(key)
	}
	return next, nil
}

func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok {
		delete(m.objects, key)
		m.keys.remove(key)
	}
	return nil
}

// AbortUploads has nothing to do: a Put leaves nothing unless it succeeds.
func (m *Memory) AbortUploads(ctx context.Context, key string) error { return begin(ctx, key) }

func (m *Memory) List(ctx context.Context, o ListOptions) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	if err := o.check(); err != nil {
		return Page{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	var page Page
	last := "" // entry
	p := m.keys.seek(o.Prefix)
	if o.StartAfter >= o.Prefix && o.StartAfter != "" {
		p = m.keys.behind(o.StartAfter, o.folded(o.StartAfter))
	}
	for n := 0; ; n++ {
		key, ok := m.keys.at(p)
		if !ok || !strings.HasPrefix(key, o.Prefix) {
			return page, nil
		}
		if n == o.Limit {
			page.Next = last
			return page, nil
		}
		folder := o.folded(key)
		if folder != "" {
			last = folder
			page.Prefixes = append(page.Prefixes, folder)
		} else {
			last = key
			listed := m.objects[key].Object
			listed.ETag = ""
			page.Objects = append(page.Objects, listed)
		}
		p = m.keys.behind(key, folder)
	}
}

// contentETag is the ETag that Memory and Dir give to an object's bytes.
func contentETag(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// sortedKeys is an ordered set of strings in runs of bounded length, so that adding
// one moves little.
type sortedKeys struct{ runs [][]string }

type position struct{ run, index int }

const maxRun = 512

// run is the index of the only run that may hold key.
func (s *sortedKeys) run(key string) int {
	i, _ := slices.BinarySearchFunc(s.runs, key, func(run []string, key string) int { return strings.Compare(run[0], key) })
	if i == len(s.runs) || s.runs[i][0] != key {
		i--
	}
	return max(i, 0)
}

func (s *sortedKeys) add(key string) {
	if len(s.runs) == 0 {
		s.runs = [][]string{{key}}
		return
	}
	r := s.run(key)
	i, _ := slices.BinarySearch(s.runs[r], key)
	run := slices.Insert(s.runs[r], i, key)
	s.runs[r] = run
	if half := len(run) / 2; len(run) > maxRun {
		s.runs[r] = run[:half:half]
		s.runs = slices.Insert(s.runs, r+1, slices.Clone(run[half:]))
	}
}

func (s *sortedKeys) remove(key string) {
	r := s.run(key)
	i, _ := slices.BinarySearch(s.runs[r], key)
	s.runs[r] = slices.Delete(s.runs[r], i, i+1)
	if len(s.runs[r]) == 0 {
		s.runs = slices.Delete(s.runs, r, r+1)
	}
}

// seek finds the first key that is not below from.
func (s *sortedKeys) seek(from string) position {
	if len(s.runs) == 0 {
		return position{}
	}
	r := s.run(from)
	i, _ := slices.BinarySearch(s.runs[r], from)
	return position{r, i}
}

// behind finds the first key above key, and outside of folder where there is one.
func (s *sortedKeys) behind(key, folder string) position {
	if folder != "" {
		return s.seek(strings.TrimSuffix(folder, "/") + "0") // "0" follows "/"
	}
	return s.seek(key + "\x00")
}

func (s *sortedKeys) at(p position) (string, bool) {
	if p.run < len(s.runs) && p.index == len(s.runs[p.run]) {
		p = position{p.run + 1, 0}
	}
	if p.run >= len(s.runs) {
		return "", false
	}
	return s.runs[p.run][p.index], true
}
