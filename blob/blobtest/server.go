package blobtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"modelbucket/blob"
	"modelbucket/blob/blobtest/servers"
)

// Server is a real S3 server on loopback with data and credentials of its own. It ends
// with its test, or with the test's process.
type Server struct {
	Endpoint, AccessKey, SecretKey string

	address     string
	credentials string // a file, for store URLs
	health      string
	command     func() *exec.Cmd
	output      output
	buckets     atomic.Int64
	data        string // the folder of versitygw, in which each object is a file
	identity    *Identity
	trusting    *http.Transport // the way to a server with an identity
	restrict    func(t testing.TB, bucket string, policy []byte) credentials.Value

	process *exec.Cmd
	ended   chan struct{}
}

// StartVersityGW starts versitygw over a folder. The very first time it is built,
// which takes minutes.
func StartVersityGW(t testing.TB) *Server {
	t.Helper()
	return StartVersityGWIn(t, t.TempDir())
}

// StartVersityGWIn is the same over a folder that is there.
func StartVersityGWIn(t testing.TB, data string) *Server {
	t.Helper()
	program := prepare(t, servers.VersityGW)
	s := start(t, "/health", func(s *Server) *exec.Cmd {
		// No --keep-alive: with it this version takes the end of an empty upload for a request.
		c := exec.Command(program, "--port", s.address, "--region", "us-east-1", "--health", "/health", "--quiet", "posix", data)
		c.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
		return c
	})
	s.data = data
	return s
}

// Ages tells whether Age can be called: it can't on MinIO.
func (s *Server) Ages() bool { return s.data != "" }

// Age makes all that versitygw holds in a bucket older, as if so much time had gone by.
func (s *Server) Age(t testing.TB, bucket string, by time.Duration) {
	t.Helper()
	s.eachFile(t, bucket, func(path string, d fs.DirEntry) error {
		info, err := d.Info()
		if err != nil {
			return err
		}
		older := info.ModTime().Add(-by)
		return os.Chtimes(path, older, older)
	})
}

// RemoveHalfWritten removes what versitygw left of objects that it was writing when it was
// killed: files with names of its own, which it shows as objects from then on. check names
// them, rightly; no node wrote them, and none may remove what is not its own.
func (s *Server) RemoveHalfWritten(t testing.TB, bucket string) (removed int) {
	t.Helper()
	s.eachFile(t, bucket, func(path string, d fs.DirEntry) error {
		if !halfWritten.MatchString(d.Name()) {
			return nil
		}
		removed++
		return os.Remove(path)
	})
	return removed
}

// eachFile calls f with the files of versitygw's objects in a bucket.
func (s *Server) eachFile(t testing.TB, bucket string, f func(path string, d fs.DirEntry) error) {
	t.Helper()
	if s.data == "" {
		t.Fatal("only versitygw keeps each object in a file")
	}
	err := filepath.WalkDir(filepath.Join(s.data, bucket), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return f(path, d)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// halfWritten is how versitygw calls a file until it is whole.
var halfWritten = regexp.MustCompile(`^\..+\.sgwtmp\.[0-9]+$`)

// Bucket is the name of the bucket in a store URL of this server.
func (s *Server) Bucket(store string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(store, "s3://"), "?")
	return name
}

// MinIOVariable is set where the tests that need MinIO shall run: it takes many minutes
// to build, so that is for CI.
const MinIOVariable = "MODELBUCKET_TEST_MINIO"

// StartMinIO starts MinIO with a single drive, or skips the test unless
// MODELBUCKET_TEST_MINIO=1 asks for it.
func StartMinIO(t testing.TB) *Server {
	t.Helper()
	return start(t, "/minio/health/ready", minioCommand(t, nil))
}

func minioCommand(t testing.TB, identity *Identity) func(*Server) *exec.Cmd {
	t.Helper()
	if os.Getenv(MinIOVariable) != "1" {
		t.Skipf("not run on MinIO: set %s=1 to build the server (once, minutes) and run this", MinIOVariable)
	}
	program, data := prepare(t, servers.MinIO), t.TempDir()
	certs := filepath.Join(data, "certs")
	if identity != nil {
		identity.copyTo(t, certs, "public.crt", "private.key")
	}
	return func(s *Server) *exec.Cmd {
		c := exec.Command(program, "server", "--quiet", "--anonymous", "--address", s.address, "--certs-dir", certs, filepath.Join(data, "drive"))
		c.Env = append(os.Environ(), "MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey,
			"MINIO_REGION=us-east-1", "MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CI_CD=1")
		return c
	}
}

func prepare(t testing.TB, name string) string {
	t.Helper()
	program, err := servers.Build(t.Context(), name, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func start(t testing.TB, health string, command func(*Server) *exec.Cmd) *Server {
	t.Helper()
	return startWith(t, health, nil, command)
}

func startWith(t testing.TB, health string, identity *Identity, command func(*Server) *exec.Cmd) *Server {
	t.Helper()
	s := &Server{AccessKey: "test" + rand.Text()[:12], SecretKey: rand.Text(), health: health, identity: identity}
	scheme := "http://"
	if identity != nil {
		scheme, s.trusting = "https://", trust(t, identity)
	}
	s.command = func() *exec.Cmd { return command(s) }
	s.credentials = filepath.Join(t.TempDir(), "credentials")
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", s.AccessKey, s.SecretKey)
	if err := os.WriteFile(s.credentials, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	var err error
	for range 5 { // the port may be taken by the time the server wants it
		if s.address, err = freeAddress(); err != nil {
			t.Fatal(err)
		}
		s.Endpoint = scheme + s.address
		if err = s.run(t.Context()); err == nil {
			return s
		}
	}
	t.Fatal(err)
	return nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Kill ends the server at once, as a power failure of it would.
func (s *Server) Kill() {
	if s.process != nil {
		s.process.Process.Kill()
		<-s.ended
		s.process = nil
	}
}

// Restart starts a killed server again, with its data and under its address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill()
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// run starts the process and waits until it answers.
func (s *Server) run(ctx context.Context) error {
	c := s.command()
	c.Stdout, c.Stderr = &s.output, &s.output
	dieWithParent(c)
	started, ended := make(chan error), make(chan struct{})
	go func() { // ends with the process
		defer close(ended)
		// A child can be told to die with the thread that started it: keep the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.Start()
		started <- err
		if err == nil {
			c.Wait() // killed, as a rule
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.process, s.ended = c, ended
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if s.healthy(ctx) {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended at once: %s", c.Path, s.output.String())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s is not healthy: %s", c.Path, s.output.String())
}

func (s *Server) healthy(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+s.health, nil)
	if err != nil {
		return false
	}
	answer, err := s.client().Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	return answer.StatusCode == http.StatusOK
}

// NewBucket makes an empty bucket and returns its store URL.
func (s *Server) NewBucket(t testing.TB) string {
	t.Helper()
	store := s.Store(fmt.Sprintf("bucket-%d", s.buckets.Add(1)), s.Endpoint)
	for deadline := time.Now().Add(time.Minute); ; {
		err := blob.CreateBucket(t.Context(), store)
		switch {
		case err == nil:
			return store
		case !errors.Is(err, blob.ErrUnavailable) || time.Now().After(deadline):
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // MinIO says that it is healthy before it is
	}
}

// Store is the URL of a bucket of this server, by way of an endpoint that may be a
// Proxy's. The credentials are in a file that it names.
func (s *Server) Store(bucket, endpoint string) string {
	q := url.Values{"endpoint": {endpoint}, "region": {"us-east-1"}, "path-style": {"true"}, "credentials-file": {s.credentials}}
	return "s3://" + bucket + "?" + q.Encode()
}

// OpenUploads counts the uploads in parts of a bucket that were neither joined nor
// dropped. versitygw tells those of all keys that begin with prefix, MinIO those of the
// very key.
func (s *Server) OpenUploads(t testing.TB, bucket, prefix string) int {
	t.Helper()
	result, err := s.Client(t, nil).ListMultipartUploads(t.Context(), bucket, prefix, "", "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(result.Uploads)
}

// output keeps the end of what a server writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len() > 64<<10 {
		o.text.Next(32 << 10)
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(o.text.String())
}
