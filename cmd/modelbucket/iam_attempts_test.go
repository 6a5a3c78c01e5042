package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
)

// What nodes with the rights of deploy/iam may not do: see iam_test.go.

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
