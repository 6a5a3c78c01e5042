package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
			nodesLife(t, server, store)
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
	if code, said := modelbucket(t, "--server", n.URL, "push", "acme/edge", absolute(t, "demo/events.json")); code != exitFailed || !strings.Contains(said, "read only") {
		t.Errorf("push ends with %d: %s", code, said)
	}
}

// passing are the keys that nodes delete: files of versions, and notes of what is under
// way.
var passing = regexp.MustCompile(`^registry/(.*\.[0-9a-f]{8}-[0-9a-f-]{27}/.*|.*/_(uploads|trash|operations)/.*|_system/(gc|probe)/.*)$`)

// everything is what a bucket holds, as its owner sees it.
func everything(t *testing.T, owner *minio.Core, bucket string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for o := range owner.Client.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		all[o.Key] = o.ETag
	}
	return all
}

// attempts makes calls that have to be refused, and returns how many there were. The
// buckets have to be as before then.
func attempts(t *testing.T, owner *minio.Core, calls map[string]func(context.Context) error) int {
	t.Helper()
	before := [2]map[string]string{everything(t, owner, iamBucket), everything(t, owner, "other")}
	for what, call := range calls {
		err := call(t.Context())
		answer, ok := errors.AsType[minio.ErrorResponse](err)
		if !ok || answer.StatusCode != 403 && answer.StatusCode != 501 && answer.Code != "AccessDenied" {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i, bucket := range []string{iamBucket, "other"} {
		if !maps.Equal(before[i], everything(t, owner, bucket)) {
			t.Errorf("the bucket %s has changed", bucket)
		}
	}
	return len(calls)
}

// nothingElse tries with a node's key what no node does.
func nothingElse(t *testing.T, owner, c *minio.Core) int {
	t.Helper()
	// What the job above did not happen to make, and nodes never delete.
	for _, key := range []string{"_system/keys/zzz.json", "_system/audit/zzz.json", "zzz/_audit/zzz.json", "zzz/_tenant.json"} {
		put(t, owner, iamBucket, iamPrefix+"/"+key)
		defer func() {
			if err := owner.RemoveObject(t.Context(), iamBucket, iamPrefix+"/"+key, minio.RemoveObjectOptions{}); err != nil {
				t.Error(err)
			}
		}()
	}
	calls := map[string]func(context.Context) error{}
	kinds := map[string]bool{}
	for key := range everything(t, owner, iamBucket) {
		if !passing.MatchString(key) {
			calls["delete "+key] = func(ctx context.Context) error {
				return c.RemoveObject(ctx, iamBucket, key, minio.RemoveObjectOptions{})
			}
			calls["delete a version of "+key] = func(ctx context.Context) error {
				return c.RemoveObject(ctx, iamBucket, key, minio.RemoveObjectOptions{VersionID: "null"})
			}
			for _, kind := range []string{"_versions/", ".tombstone.json", "_aliases/", "_labels/", "_model.json", "_tenant.json", "_system/format.json", "_system/root_token.json", "_system/keys/", "_audit/", "outside/"} {
				kinds[kind] = kinds[kind] || strings.Contains(key, kind)
			}
		}
	}
	for kind, tried := range kinds { // so that the list of keys above cannot miss one
		if !tried {
			t.Errorf("no key of the kind %s is there to be deleted", kind)
		}
	}
	maps.Copy(calls, elsewhere(c))
	maps.Copy(calls, administration(c))
	return attempts(t, owner, calls)
}

// elsewhere are calls beyond the prefix.
func elsewhere(c *minio.Core) map[string]func(context.Context) error {
	calls := map[string]func(context.Context) error{}
	for _, at := range [][2]string{{iamBucket, "outside/secret"}, {iamBucket, iamPrefix + "2/secret"}, {iamBucket, "secret"}, {"other", "secret"}, {"other", iamPrefix + "/secret"}} {
		bucket, key := at[0], at[1]
		where := bucket + "/" + key
		calls["get "+where] = func(ctx context.Context) error {
			body, _, _, err := c.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
			if err == nil {
				body.Close()
			}
			return err
		}
		calls["stat "+where] = func(ctx context.Context) error {
			_, err := c.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
			return err
		}
		calls["put "+where] = func(ctx context.Context) error {
			_, err := c.PutObject(ctx, bucket, key, strings.NewReader("mine"), 4, "", "", minio.PutObjectOptions{})
			return err
		}
		calls["put in parts "+where] = func(ctx context.Context) error {
			_, err := c.NewMultipartUpload(ctx, bucket, key, minio.PutObjectOptions{})
			return err
		}
		calls["delete "+where] = func(ctx context.Context) error { return c.RemoveObject(ctx, bucket, key, minio.RemoveObjectOptions{}) }
		calls["copy here "+where] = func(ctx context.Context) error {
			_, err := c.CopyObject(ctx, bucket, key, iamBucket, iamPrefix+"/stolen", nil, minio.CopySrcOptions{}, minio.PutObjectOptions{})
			return err
		}
		calls["copy there "+where] = func(ctx context.Context) error {
			_, err := c.CopyObject(ctx, iamBucket, iamPrefix+"/_system/format.json", bucket, key, nil, minio.CopySrcOptions{}, minio.PutObjectOptions{})
			return err
		}
	}
	for _, at := range [][2]string{{iamBucket, "outside/"}, {iamBucket, iamPrefix + "2/"}, {"other", ""}, {"other", iamPrefix + "/"}} {
		calls["list "+at[0]+"/"+at[1]] = func(ctx context.Context) error {
			_, err := c.ListObjectsV2(at[0], at[1], "", "", "", 10)
			return err
		}
	}
	return calls
}

// administration are calls that change what a bucket is.
func administration(c *minio.Core) map[string]func(context.Context) error {
	own := iamPrefix + "/_system/format.json"
	return map[string]func(context.Context) error{
		"make a bucket": func(ctx context.Context) error {
			return c.MakeBucket(ctx, "third", minio.MakeBucketOptions{Region: "us-east-1"})
		},
		"remove a bucket": func(ctx context.Context) error { return c.RemoveBucket(ctx, "other") },
		"read the policy": func(ctx context.Context) error { _, err := c.Client.GetBucketPolicy(ctx, iamBucket); return err },
		"change the policy": func(ctx context.Context) error {
			return c.SetBucketPolicy(ctx, iamBucket, fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::%s/*"]}]}`, iamBucket))
		},
		"versioning": func(ctx context.Context) error { return c.EnableVersioning(ctx, iamBucket) },
		"tag an object": func(ctx context.Context) error {
			return c.RemoveObjectTagging(ctx, iamBucket, own, minio.RemoveObjectTaggingOptions{})
		},
	}
}

// noWrites tries what a key that only reads may not.
func noWrites(t *testing.T, owner, c *minio.Core) int {
	t.Helper()
	calls := map[string]func(context.Context) error{}
	for i, key := range slices.Sorted(maps.Keys(everything(t, owner, iamBucket))) {
		if i%10 == 0 || strings.Contains(key, "/_system/") {
			calls["put "+key] = func(ctx context.Context) error {
				_, err := c.PutObject(ctx, iamBucket, key, bytes.NewReader(nil), 0, "", "", minio.PutObjectOptions{})
				return err
			}
			calls["delete "+key] = func(ctx context.Context) error {
				return c.RemoveObject(ctx, iamBucket, key, minio.RemoveObjectOptions{})
			}
		}
	}
	return attempts(t, owner, calls)
}
