package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"modelbucket/blob/blobtest"
	"modelbucket/web/client"
)

// confinedUser is who runs the program in a container: nobody who owns anything.
const confinedUser = 65532

// confinement is a file system like that of the image: the program, certificates, and
// a folder /data. Nothing else is there, neither a shell nor /tmp, /proc or /dev, and all
// but /data cannot be written.
type confinement struct{ root string }

// confine builds the program and the file system around it.
func confine(t *testing.T) *confinement {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: to become another user in another root takes root")
	}
	c := &confinement{t.TempDir()}
	err := syscall.Mount("tmpfs", c.root, "tmpfs", 0, "size=128m,mode=755")
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("NOT RUN: a file system of its own can't be mounted here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(c.root, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	program := filepath.Join(c.root, "modelbucket")
	if shipped := os.Getenv("MODELBUCKET_TEST_PROGRAM"); shipped != "" {
		content, err := os.ReadFile(shipped)
		if err == nil {
			err = os.WriteFile(program, content, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	} else {
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
	}
	return c
}

// add lays a file where the program can read it.
func (c *confinement) add(t *testing.T, name, from string) (inside string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(filepath.Join(c.root, name), content, 0o444)
	}
	if err != nil {
		t.Fatal(err)
	}
	return "/" + name
}

// data makes /data a file system of its own, for the confined user.
func (c *confinement) data(t *testing.T) {
	t.Helper()
	path := filepath.Join(c.root, "data")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=256m,mode=700,uid=%d,gid=%d", confinedUser, confinedUser)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// close makes the file system read only.
func (c *confinement) close(t *testing.T) {
	t.Helper()
	if err := syscall.Mount("tmpfs", c.root, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.root, "x"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Fatalf("it can be written: %v", err)
	}
}

// command is the program in there, as the confined user, with an environment of its own.
func (c *confinement) command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command("/modelbucket", args...)
	cmd.Dir, cmd.Env = "/", append(env, "MODELBUCKET_LISTEN=127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: c.root, Credential: &syscall.Credential{Uid: confinedUser, Gid: confinedUser}}
	return cmd
}

// start starts a node in there.
func (c *confinement) start(t *testing.T, env []string, flags ...string) *testNode {
	t.Helper()
	n := &testNode{process: c.command(env, append([]string{"serve", "--json"}, flags...)...), said: make(chan error, 1), log: filepath.Join(t.TempDir(), "node.log")}
	log, err := os.Create(n.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the node has its own
	n.process.Stderr = log
	stdout, err := n.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Errorf("the node ended with %v; its log: %s", err, c.logOf(n))
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &n.greeting)
	}
	if err != nil {
		t.Fatalf("%v; its log: %s", err, c.logOf(n))
	}
	return n
}

func (c *confinement) logOf(n *testNode) string {
	text, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// powers are what a process may do beyond its user: "0" is nothing.
func powers(t *testing.T, n *testNode) map[string]string {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", n.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	status := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		status[name] = strings.Join(strings.Fields(value), " ")
	}
	return status
}

// work does what users do: uploads whole and in parts, from a form and bare, a training,
// events, files, and the collector's pass.
func work(t *testing.T, n *testNode) {
	t.Helper()
	c := caller(t, n.URL)
	if err := furnish(t.Context(), c, "acme", ""); err != nil {
		t.Fatal(err)
	}
	_, err := c.Publish(t.Context(), client.Publication{Tenant: "acme", Model: "large"}, file("a", mebibytes(40)), file("b", mebibytes(1)))
	if err != nil {
		t.Fatalf("publish in parts: %v", err)
	}
	download, err := c.Open(t.Context(), number("acme", "large", 1), "a")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.Copy(io.Discard, download)
	download.Close()
	if err != nil || got != 40<<20 {
		t.Errorf("read back %d bytes, %v", got, err)
	}
	for _, args := range [][]string{
		{"train", "acme/edge", absolute(t, "demo/events.json"), "--alias", "champion"},
		{"detect", "acme/edge@champion", absolute(t, "demo/events.json"), "-q"},
		{"verify", "--all"},
	} {
		if code, said := modelbucket(t, append([]string{"--server", n.URL}, args...)...); code != 0 {
			t.Errorf("%v ends with %d: %s", args, code, said)
		}
	}
}

// TestConfined runs the program as the image does: a user without rights, in a file
// system that has the program alone and cannot be written.
func TestConfined(t *testing.T) {
	c := confine(t)
	server := blobtest.StartVersityGW(t)
	store := server.NewBucket(t)
	credentials := c.add(t, "credentials", server.CredentialsFile())
	identity := newIdentity(t)
	cert := c.add(t, "cert.pem", identity.CertFile)
	key := c.add(t, "key.pem", identity.KeyFile)
	c.data(t)
	c.close(t)
	inside := strings.Replace(store, url.QueryEscape(server.CredentialsFile()), url.QueryEscape(credentials), 1)

	t.Run("on S3", func(t *testing.T) {
		n := c.start(t, []string{"MODELBUCKET_STORE=" + inside}, "--insecure")
		status := powers(t, n)
		for name, want := range map[string]string{
			"Uid": "65532 65532 65532 65532", "Gid": "65532 65532 65532 65532", "Groups": "", "CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapInh": "0000000000000000",
		} {
			if status[name] != want {
				t.Errorf("%s of the process is %q, want %q", name, status[name], want)
			}
		}
		work(t, n)
		if strings.Contains(c.logOf(n), "panic") {
			t.Errorf("the log: %s", c.logOf(n))
		}
	})
	t.Run("on a folder", func(t *testing.T) {
		work(t, c.start(t, []string{"MODELBUCKET_STORE=dir:/data/store"}, "--insecure"))
	})
	t.Run("as from the network", func(t *testing.T) {
		n := c.start(t, []string{"MODELBUCKET_STORE=dir:/data/store", "MODELBUCKET_ROOT_TOKEN=0123456789abcdef0123", "MODELBUCKET_TLS_CERT=" + cert, "MODELBUCKET_TLS_KEY=" + key}, "--listen=0.0.0.0:0", "--drain=0s")
		if !strings.HasPrefix(n.URL, "https://") {
			t.Errorf("it is at %s", n.URL)
		}
	})
	t.Run("what cannot be", func(t *testing.T) {
		for name, row := range map[string]struct{ env, says string }{
			"no place for the store": {"MODELBUCKET_STORE=dir:/modelbucket-data", "read-only file system"},
			"a place of another's":   {"MODELBUCKET_STORE=dir:/", ""},
		} {
			out, err := c.command([]string{row.env}, "serve").CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitFailed || !strings.Contains(string(out), row.says) || strings.Contains(string(out), "goroutine") {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		}
	})
	var found []string
	err := filepath.WalkDir(c.root, func(path string, d fs.DirEntry, err error) error {
		if d.Name() == "data" {
			return fs.SkipDir
		}
		found = append(found, d.Name())
		return err
	})
	if err != nil || len(found) != 5 {
		t.Errorf("the file system has %v, %v", found, err)
	}
}
