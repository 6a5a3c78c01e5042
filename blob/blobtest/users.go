package blobtest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"modelbucket/blob/blobtest/servers"
)

// Identity is a certificate that vouches for itself and its key, PEM files both.
type Identity struct{ CertFile, KeyFile string }

// copyTo lays copies into a folder.
func (i *Identity) copyTo(t testing.TB, folder, cert, key string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{i.CertFile: cert, i.KeyFile: key} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, to), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// StartVersityGWWithUsers starts a versitygw that knows users beside its owner: over TLS,
// if there is an identity for it.
func StartVersityGWWithUsers(t testing.TB, identity *Identity) *Server {
	t.Helper()
	program, data, users := prepare(t, servers.VersityGW), t.TempDir(), t.TempDir()
	return startWith(t, "/health", identity, func(s *Server) *exec.Cmd {
		args := []string{"--port", s.address, "--region", "us-east-1", "--health", "/health", "--quiet", "--iam-dir", users}
		if identity != nil {
			args = append(args, "--cert", identity.CertFile, "--key", identity.KeyFile)
		}
		c := exec.Command(program, append(args, "posix", data)...)
		c.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
		s.data, s.restrict = data, s.restrictVersityGW
		return c
	})
}

// StartMinIOWithUsers is the same for MinIO, where that is asked for as StartMinIO says.
func StartMinIOWithUsers(t testing.TB, identity *Identity) *Server {
	t.Helper()
	command := minioCommand(t, identity)
	return startWith(t, "/minio/health/ready", identity, func(s *Server) *exec.Cmd {
		s.restrict = s.restrictMinIO
		return command(s)
	})
}

// Restrict makes credentials that may do what a policy of IAM says, and no more. store
// is the URL of what lies below prefix in the bucket, with these credentials in a file.
func (s *Server) Restrict(t testing.TB, bucket, prefix string, policy []byte) (store string, c *credentials.Credentials) {
	t.Helper()
	value := s.restrict(t, bucket, policy)
	file := filepath.Join(t.TempDir(), "credentials")
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", value.AccessKeyID, value.SecretAccessKey)
	if value.SessionToken != "" {
		text += "aws_session_token = " + value.SessionToken + "\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	q := url.Values{"endpoint": {s.Endpoint}, "region": {"us-east-1"}, "path-style": {"true"}, "credentials-file": {file}}
	return "s3://" + bucket + "/" + prefix + "?" + q.Encode(), credentials.New(&credentials.Static{Value: value})
}

// Client speaks S3 with the server, as its owner or with other credentials.
func (s *Server) Client(t testing.TB, c *credentials.Credentials) *minio.Core {
	t.Helper()
	if c == nil {
		c = credentials.NewStaticV4(s.AccessKey, s.SecretKey, "")
	}
	core, err := minio.NewCore(s.address, &minio.Options{
		Creds: c, Region: "us-east-1", Secure: s.secure(), Transport: s.transport(), BucketLookup: minio.BucketLookupPath, MaxRetries: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return core
}

// restrictVersityGW makes a user, and a policy of the bucket that speaks of him: what
// elsewhere belongs to a user belongs to a bucket here.
func (s *Server) restrictVersityGW(t testing.TB, bucket string, policy []byte) credentials.Value {
	t.Helper()
	value := credentials.Value{AccessKeyID: "user" + rand.Text()[:12], SecretAccessKey: rand.Text(), SignerType: credentials.SignatureV4}
	body := fmt.Appendf(nil, "<Account><Access>%s</Access><Secret>%s</Secret><Role>user</Role></Account>", value.AccessKeyID, value.SecretAccessKey)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, s.Endpoint+"/create-user", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	request.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	answer, err := s.client().Do(signer.SignV4(*request, s.AccessKey, s.SecretKey, "", "us-east-1"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusCreated {
		t.Fatalf("make a user: %s, %s, %v", answer.Status, text, err)
	}
	var document struct {
		Version   string
		Statement []map[string]any
	}
	if err := json.Unmarshal(policy, &document); err != nil {
		t.Fatal(err)
	}
	for _, statement := range document.Statement {
		statement["Principal"] = map[string]any{"AWS": []string{value.AccessKeyID}}
	}
	ofBucket, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Client(t, nil).SetBucketPolicy(t.Context(), bucket, string(ofBucket)); err != nil {
		t.Fatal(err)
	}
	return value
}

// restrictMinIO has the owner take on a role that the policy restricts.
func (s *Server) restrictMinIO(t testing.TB, _ string, policy []byte) credentials.Value {
	t.Helper()
	var compact bytes.Buffer // it may have 2,048 bytes
	if err := json.Compact(&compact, policy); err != nil {
		t.Fatal(err)
	}
	role := credentials.New(&credentials.STSAssumeRole{
		Client: s.client(), STSEndpoint: s.Endpoint,
		Options: credentials.STSAssumeRoleOptions{AccessKey: s.AccessKey, SecretKey: s.SecretKey, Location: "us-east-1", Policy: compact.String()},
	})
	value, err := role.GetWithContext(&credentials.CredContext{Client: s.client()})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func (s *Server) secure() bool { return s.identity != nil }

// transport trusts the server's own certificate.
func (s *Server) transport() http.RoundTripper {
	if !s.secure() {
		return http.DefaultTransport
	}
	return s.trusting
}

func (s *Server) client() *http.Client { return &http.Client{Transport: s.transport()} }

// trust reads an identity.
func trust(t testing.TB, identity *Identity) *http.Transport {
	t.Helper()
	text, err := os.ReadFile(identity.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("%s has no certificate", identity.CertFile)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// CredentialsFile is where the owner's credentials are; store URLs name it.
func (s *Server) CredentialsFile() string { return s.credentials }
