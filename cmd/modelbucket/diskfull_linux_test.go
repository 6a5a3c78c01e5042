package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web/client"
)

// disk is a small disk of its own, and a file on it that takes what room there is.
type disk struct{ path, ballast string }

const diskSize = 24 << 20

func newDisk(t *testing.T) *disk {
	t.Helper()
	path := t.TempDir()
	err := syscall.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("NOT RUN: a disk of its own can't be mounted here, which takes root: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return &disk{path, filepath.Join(path, "ballast")}
}

func (d *disk) fill(t *testing.T) {
	t.Helper()
	f, err := os.Create(d.ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); len(block) >= 512; {
		_, err := f.Write(block)
		switch {
		case errors.Is(err, syscall.ENOSPC):
			block = block[:len(block)/2]
		case err != nil:
			t.Fatal(err)
		}
	}
}

// TestDiskFull: the disk under the store is full. What is there is served and scored
// with; a save says that it did not happen, or that it can't tell; nothing is half there;
// and when there is room again, all goes on by itself.
func TestDiskFull(t *testing.T) {
	t.Run("dir", func(t *testing.T) {
		d := newDisk(t)
		diskFull(t, d, &site{store: "dir:" + filepath.Join(d.path, "store")})
	})
	t.Run("versitygw", func(t *testing.T) {
		d := newDisk(t)
		data := filepath.Join(d.path, "data")
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Setxattr(data, "user.test", []byte("x"), 0); err != nil {
			t.Skipf("NOT RUN: versitygw keeps what it knows of objects in attributes, which this kernel's tmpfs has none of: %v", err)
		}
		server := blobtest.StartVersityGWIn(t, data)
		diskFull(t, d, &site{server: server, store: server.NewBucket(t)})
	})
}

func diskFull(t *testing.T, d *disk, s *site) {
	c := caller(t, mustStart(t, t.TempDir(), os.Environ(), "--store="+s.store, "--insecure", "--gc-interval=0").URL)
	var err error
	if s.bucket, err = blob.Open(t.Context(), s.store, blob.Options{}); err != nil {
		t.Fatal(err)
	}
	content := func(key string) string { return strings.Repeat(key+" ", 40<<10/(len(key)+1)) }
	save := func(key string) (*registry.Version, error) {
		return c.Publish(t.Context(), client.Publication{Tenant: "acme", Model: "fraud", Key: key}, file("a", content(key)))
	}
	saved := map[string]registry.Number{}
	v, err := save("before")
	if err != nil {
		t.Fatal(err)
	}
	saved["before"] = v.Version
	if _, err := c.Train(t.Context(), training("acme", "edge"), client.BytesOf(demoEvents, detector.JSON)); err != nil {
		t.Fatal(err)
	}
	score := func() error {
		_, err := c.Detect(t.Context(), registry.Ref{Tenant: "acme", Model: "edge"}, client.BytesOf([]byte(demoQuestion), detector.JSON), client.DetectOptions{})
		return err
	}
	if err := score(); err != nil {
		t.Fatal(err)
	}

	d.fill(t)
	ends := map[string]int{}
	var open []string
	for i := range 12 {
		key := fmt.Sprintf("save %d", i)
		if v, err := save(key); err == nil {
			saved[key] = v.Version
		} else {
			open = append(open, key)
			ends[endOf(err)]++
		}
		if err := score(); err != nil {
			t.Errorf("a loaded detector can't score: %v", err)
		}
	}
	_, aliasErr := c.SetAlias(t.Context(), "acme", "fraud", "champion", registry.AliasChange{To: 1})
	_, deleteErr := c.DeleteVersion(t.Context(), number("acme", "fraud", 1), registry.Deletion{})
	ends[endOf(aliasErr)]++
	ends[endOf(deleteErr)]++
	if deleteErr == nil {
		delete(saved, "before")
	}
	if ends["unavailable"]+ends["outcome_unknown"] == 0 {
		t.Errorf("nothing failed for want of room: %v", ends)
	}
	for end := range ends {
		if end != endOK && end != "unavailable" && end != "outcome_unknown" && !(end == "alias_in_use" && aliasErr == nil) {
			t.Errorf("with a full disk there is %s", end)
		}
	}
	for key, n := range saved {
		wantSaved(t, c, n, content(key))
	}
	s.check(t, "")

	if err := os.Remove(d.ballast); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, key := range open {
		for v, err = save(key); err != nil; v, err = save(key) {
			if time.Since(began) > recovery {
				t.Fatalf("with room again, a save is answered %v", err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		saved[key] = v.Version
	}
	given := map[registry.Number]bool{}
	for key, n := range saved {
		given[n] = true
		wantSaved(t, c, n, content(key))
	}
	if len(given) != len(saved) {
		t.Errorf("%d saves have %d numbers", len(saved), len(given))
	}
	report, _ := s.sweep(t)
	if report.Versions != len(saved)+1 {
		t.Errorf("there are %d versions, want %d", report.Versions, len(saved)+1)
	}
	t.Logf("disk.full %v; %d saves repeated, %d versions; all are there %v after there was room", ends, len(open), report.Versions, time.Since(began).Round(time.Millisecond))
}

func wantSaved(t *testing.T, c *client.Client, n registry.Number, content string) {
	t.Helper()
	if got, err := read(t.Context(), c, number("acme", "fraud", n)); err != nil || got != content {
		t.Errorf("version %d: got %d bytes, %v", n, len(got), err)
	}
}

func read(ctx context.Context, c *client.Client, ref registry.Ref) (string, error) {
	body, err := c.Open(ctx, ref, "a")
	if err != nil {
		return "", err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	return string(data), err
}
