// Package servers builds the real S3 servers that tests run against. Each is pinned by
// a small module of its own (versitygw/go.mod, minio/go.mod), so that none of its
// dependencies becomes one of the product.
package servers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The servers, and the packages that are their programs.
const (
	VersityGW = "versitygw"
	MinIO     = "minio"
)

var programs = map[string]string{
	VersityGW: "github.com/versity/versitygw/cmd/versitygw",
	MinIO:     "github.com/minio/minio",
}

// Build returns the path of a server's program. It is built when it is not there yet,
// which takes minutes, says so on log, and is done once however many processes ask.
//
// Programs are kept in $MODELBUCKET_TOOLS, by default modelbucket-tools in the user's
// cache folder, under a name that changes with the pinned versions.
func Build(ctx context.Context, name string, log io.Writer) (string, error) {
	path, err := build(ctx, name, log)
	if err != nil {
		return "", fmt.Errorf("build the test server %s: %w", name, err)
	}
	return path, nil
}

func build(ctx context.Context, name string, log io.Writer) (string, error) {
	module, err := moduleFolder(name)
	if err != nil {
		return "", err
	}
	pins := sha256.New()
	for _, file := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(module, file))
		if err != nil {
			return "", err
		}
		pins.Write(data)
	}
	tools := os.Getenv("MODELBUCKET_TOOLS")
	if tools == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no place to keep it, set MODELBUCKET_TOOLS: %w", err)
		}
		tools = filepath.Join(cache, "modelbucket-tools")
	}
	path := filepath.Join(tools, fmt.Sprintf("%s-%x", name, pins.Sum(nil)[:6]))
	if there(path) {
		return path, nil
	}
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, path+".lock", func() {
		fmt.Fprintf(log, "%s: another process is building it; waiting\n", name)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if there(path) {
		return path, nil
	}
	began := time.Now()
	fmt.Fprintf(log, "%s: building it into %s, once; this takes minutes\n", name, tools)
	tmp := path + ".new" // only the holder of the lock writes it
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s", "-o", tmp, programs[name])
	c.Dir = module
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off", "GO111MODULE=on")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, io.MultiWriter(&out, log)
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, &out)
	}
	if err := os.Rename(tmp, path); err != nil {
		return "", err
	}
	fmt.Fprintf(log, "%s: built in %v\n", name, time.Since(began).Round(time.Second))
	return path, nil
}

func there(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

// moduleFolder finds a server's module from anywhere within the product's checkout,
// where go test runs each package.
func moduleFolder(name string) (string, error) {
	if programs[name] == "" {
		return "", errors.New("no such server")
	}
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		module := filepath.Join(dir, "blob", "blobtest", "servers", name)
		_, err := os.Stat(filepath.Join(module, "go.mod"))
		switch {
		case err == nil:
			return module, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		case dir == filepath.Dir(dir):
			return "", fmt.Errorf("%s is not within a checkout of modelbucket", start)
		}
	}
}

// lock holds a lock file until unlock. waiting is called if another holds it.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { f.Close() }, nil
		case err != syscall.EWOULDBLOCK && err != syscall.EINTR:
			return nil, errors.Join(err, f.Close())
		case first:
			waiting()
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}
