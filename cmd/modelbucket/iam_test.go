package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/rogpeppe/go-internal/testscript"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
	"modelbucket/web/client"
)

// The bucket of these tests, and the prefix in it that is the registry's.
const iamBucket, iamPrefix = "models", "registry"

// policy is one of deploy/iam, for this bucket and prefix.
func policy(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "iam", name))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.NewReplacer("BUCKET", iamBucket, "PREFIX", iamPrefix).Replace(string(text)))
}

// TestLeastPrivilege: nodes whose key has the rights that deploy/iam names, and no others,
// do all that nodes do, on real S3 servers; and the key can do nothing else.
func TestLeastPrivilege(t *testing.T) {
	for name, start := range map[string]func(testing.TB, *blobtest.Identity) *blobtest.Server{
		"versitygw": blobtest.StartVersityGWWithUsers, "minio": blobtest.StartMinIOWithUsers,
	} {
		t.Run(name, func(t *testing.T) {
			identity := newIdentity(t)
			server := start(t, identity)
			t.Setenv("SSL_CERT_FILE", identity.CertFile) // for the programs that are started
			owner := server.Client(t, nil)
			prepareBuckets(t, owner)
			store, key := server.Restrict(t, iamBucket, iamPrefix, policy(t, "read-write.json"))
			mainJobOver(t, store, identity)
			t.Run("nodes", func(t *testing.T) { // which have ended before their key has no rights any more
				nodesLife(t, server, store)
				keysLife(t, store)
			})
			n := nothingElse(t, owner, server.Client(t, key))
			store, key = server.Restrict(t, iamBucket, iamPrefix, policy(t, "read-only.json"))
			readOnlyNode(t, store)
			n += nothingElse(t, owner, server.Client(t, key)) + noWrites(t, owner, server.Client(t, key))
			t.Logf("iam.refused: %d calls that a node's key may not make, all refused on %s", n, name)
		})
		t.Run(name+" in the clear", func(t *testing.T) {
			server := start(t, nil)
			prepareBuckets(t, server.Client(t, nil))
			for _, name := range []string{"read-write.json", "read-only.json"} {
				store, _ := server.Restrict(t, iamBucket, iamPrefix, policy(t, name))
				if _, err := blob.Open(t.Context(), store, blob.Options{ReadOnly: true}); !errors.Is(err, blob.ErrDenied) {
					t.Errorf("%s: without TLS the store is opened with %v", name, err)
				}
			}
		})
	}
}

// prepareBuckets makes the registry's bucket and another, with objects that are not the
// registry's business.
func prepareBuckets(t *testing.T, owner *minio.Core) {
	t.Helper()
	for _, bucket := range []string{iamBucket, "other"} {
		var err error
		for deadline := time.Now().Add(time.Minute); ; { // MinIO says that it is healthy before it is
			if err = owner.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{Region: "us-east-1"}); err == nil || time.Now().After(deadline) {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"outside/secret", iamPrefix + "2/secret", "secret"} {
			put(t, owner, bucket, key)
		}
	}
}

func put(t *testing.T, owner *minio.Core, bucket, key string) {
	t.Helper()
	if _, err := owner.PutObject(t.Context(), bucket, key, strings.NewReader("secret"), 6, "", "", minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}

// mainJobOver runs the main job's script over a store.
func mainJobOver(t *testing.T, store string, identity *blobtest.Identity) {
	events := absolute(t, "demo/events.json")
	t.Run("main job", func(t *testing.T) {
		testscript.Run(t, scripts("testdata/stores", func(env *testscript.Env) {
			env.Setenv("MODELBUCKET_STORE", store)
			env.Setenv("SSL_CERT_FILE", identity.CertFile)
			env.Setenv("EVENTS", events)
			*env.Values[damaged{}].(*bool) = true // its check is ours: this process does not trust the server
		}))
	})
}

// modelbucket runs the program, and returns its exit code and what it said.
func modelbucket(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "modelbucket", args...)
	out, err := c.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), string(out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(out)
}

// nodesLife is what the main job lacks: uploads in parts and those that break off,
// copies, restored and deleted versions and models, and the collector's work on them.
func nodesLife(t *testing.T, server *blobtest.Server, store string) {
	t.Helper()
	for _, args := range [][]string{{"doctor"}, {"gc"}, {"check", "--digests"}} {
		if code, said := modelbucket(t, append([]string{"--store", store}, args...)...); code != 0 {
			t.Errorf("%v ends with %d: %s", args, code, said)
		}
	}
	n := mustStart(t, t.TempDir(), os.Environ(), "--store="+store, "--insecure", "--gc-interval=0", "--max-upload=64MiB")
	c := caller(t, n.URL)
	if err := furnish(t.Context(), c, "life", ""); err != nil {
		t.Fatal(err)
	}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	_, err := c.Publish(t.Context(), client.Publication{Tenant: "life", Model: "large"}, file("big", mebibytes(24)), file("_versions/000000/000-1.json", "called like a record"))
	must("publish in parts", err)
	_, err = c.Restore(t.Context(), number("life", "fraud", 3), client.Publication{})
	must("restore", err)
	_, err = c.Copy(t.Context(), number("life", "large", 1), client.Publication{Tenant: "life2", Model: "copy"})
	must("copy", err)
	_, err = c.UpdateTenant(t.Context(), "life", registry.Change{Description: new("of this test")})
	must("tenant", err)
	_, err = c.DeleteAlias(t.Context(), "life", "fraud", "stable", registry.AliasChange{})
	must("delete an alias", err)
	_, err = c.DeleteModel(t.Context(), "life", "old", "")
	must("delete a model", err)
	_, err = c.DeleteVersion(t.Context(), number("life", "large", 1), registry.Deletion{})
	must("delete a version", err)
	broken := file("big", mebibytes(24))
	broken.Size++ // more than there is
	if _, err := c.Publish(t.Context(), client.Publication{Tenant: "life", Model: "large"}, broken); err == nil {
		t.Error("an upload that breaks off was saved")
	}
	_, err = c.Verify(t.Context(), number("life2", "copy", 1))
	must("verify", err)
	if server.Ages() {
		for range 2 { // uploads are condemned first
			server.Age(t, iamBucket, 10*24*time.Hour)
			code, said := modelbucket(t, "--store", store, "gc")
			if code != 0 {
				t.Errorf("gc ends with %d: %s", code, said)
			}
			t.Logf("gc: %s", said)
		}
		for key := range everything(t, server.Client(t, nil), iamBucket) {
			if strings.HasPrefix(key, iamPrefix+"/life/") && strings.Contains(key, "/_versions/000000/") {
				t.Errorf("the collector left %s", key)
			}
		}
	}
	if code, said := modelbucket(t, "--store", store, "check", "--digests"); code != 0 {
		t.Errorf("check ends with %d: %s", code, said)
	}
}

// keysLife makes, uses and revokes keys, of a tenant and for all.
func keysLife(t *testing.T, store string) {
	t.Helper()
	const root = "root-token-of-this-test"
	n := mustStart(t, t.TempDir(), append(os.Environ(), "MODELBUCKET_ROOT_TOKEN="+root), "--store="+store, "--gc-interval=0")
	ask := func(method, path, token, body string, status int) (answer struct{ ID, Token string }) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, n.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		text, err := io.ReadAll(got.Body)
		if err != nil || got.StatusCode != status {
			t.Fatalf("%s %s: status %d, want %d: %s, %v", method, path, got.StatusCode, status, text, err)
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return answer
	}
	for _, keys := range []struct{ path, role, use string }{
		{"/v1/tenants/acme/keys", "reader", "/v1/tenants/acme/models/edge"}, {"/v1/keys", "operator", "/v1/tenants/acme/keys"},
	} {
		key := ask("POST", keys.path, root, `{"role":"`+keys.role+`"}`, 201)
		ask("GET", keys.use, key.Token, "", 200)
		ask("GET", keys.path, root, "", 200)
		ask("DELETE", keys.path+"/"+key.ID, root, "", 200)
		ask("GET", keys.use, key.Token, "", 401)
	}
}

// readOnlyNode has a node that may only read score, and refuse to save.
func readOnlyNode(t *testing.T, store string) {
	t.Helper()
	n := mustStart(t, t.TempDir(), os.Environ(), "--store="+store, "--insecure", "--read-only")
	if code, said := modelbucket(t, "--server", n.URL, "detect", "acme/edge", absolute(t, "demo/events.json"), "-q"); code != 0 || said == "" {
		t.Errorf("detect ends with %d: %s", code, said)
	}
	if code, said := modelbucket(t, "--server", n.URL, "verify", "--all"); code != 0 {
		t.Errorf("verify ends with %d: %s", code, said)
	}
	if code, said := modelbucket(t, "--server", n.URL, "show", "acme/edge:99"); code != exitNotFound {
		t.Errorf("show of what is not there, which is not what one may not see, ends with %d: %s", code, said)
	}
	if code, said := modelbucket(t, "--server", n.URL, "push", "acme/edge", absolute(t, "demo/events.json")); code != exitFailed || !strings.Contains(said, "read only") {
		t.Errorf("push ends with %d: %s", code, said)
	}
}
