package blob_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
)

// clearEnvironment hides what this machine's owner has set.
func clearEnvironment(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN",
		"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
}

// Each wrong URL is told what is wrong with it and what would be right.
func TestOpenWrongURL(t *testing.T) {
	clearEnvironment(t)
	for store, says := range map[string]string{
		"":                                    "must begin with",
		"models":                              "dir:./models",
		"/srv/models":                         "dir:./models",
		"http://127.0.0.1:9000/bucket":        "s3://bucket/prefix?endpoint=",
		"gs://bucket":                         "must begin with",
		"memory":                              "must begin with",
		"memory:x":                            "nothing may follow",
		"dir:":                                "path of a folder",
		"dir://srv/models":                    `without "//"`,
		"dir:a\x00b":                          "NUL",
		"s3:bucket":                           `followed by "//"`,
		"s3://":                               "bucket is missing",
		"s3:///prefix":                        "bucket is missing",
		"s3://?region=eu-central-1":           "bucket is missing",
		"s3://B/":                             "no name of a bucket",
		"s3://my_bucket":                      "no name of a bucket",
		"s3://bucket#x":                       `"#"`,
		"s3://bucket/a/../b":                  "no prefix",
		"s3://bucket/a//b":                    "no prefix",
		"s3://bucket":                         "AWS_REGION",
		"s3://bucket?end-point=x":             "there is no parameter \"end-point\"",
		"s3://bucket?region=":                 "must have one value",
		"s3://bucket?region=a&region=b":       "must have one value",
		"s3://bucket?region=%zz":              "list of parameters",
		"s3://bucket:port":                    "no URL",
		"s3://bucket?path-style=1&region=x":   "path-style is true",
		"s3://bucket?endpoint=127.0.0.1:9000": "http://127.0.0.1:9000",
		"s3://bucket?endpoint=ftp://x":        "http://127.0.0.1:9000",
		"s3://bucket?endpoint=http://x/path":  "nothing behind it",
		"s3://key:hush@bucket?region=x":       "AWS_ACCESS_KEY_ID",
		"s3://bucket?endpoint=http://key:hush@127.0.0.1:9000": "nothing behind it",
	} {
		_, err := blob.Open(t.Context(), store, blob.Options{})
		if !errors.Is(err, blob.ErrStoreURL) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v, want %v that says %q", store, err, blob.ErrStoreURL, says)
		}
	}
}

// With a context that is over Open only reads the URL.
func FuzzStoreURL(f *testing.F) {
	for _, s := range []string{"memory:", "dir:x", "s3://bucket/a/b?endpoint=https://h:1&region=r&path-style=false&profile=p&credentials-file=/f", "s3://u:hush@b", "s3://b?region=%"} {
		f.Add(s)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_, refusal := blob.Open(over, "s3://key:secret@bucket", blob.Options{})
	f.Fuzz(func(t *testing.T, store string) {
		_, err := blob.Open(over, store, blob.Options{})
		if !errors.Is(err, blob.ErrStoreURL) && !errors.Is(err, context.Canceled) {
			t.Errorf("%q: %v", store, err)
		}
		if u, parseErr := url.Parse(store); parseErr == nil && strings.HasPrefix(store, "s3://") && u.User != nil && err.Error() != refusal.Error() {
			t.Errorf("%q: %v, want the one answer to all secrets: %v", store, err, refusal)
		}
	})
}

func TestOpenDirStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "store")
	if _, err := blob.Open(t.Context(), "dir:"+path, blob.Options{ReadOnly: true}); !errors.Is(err, blob.ErrNoBucket) {
		t.Errorf("read-only, and nothing there: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("read-only made a folder: %v", err)
	}
	b := open(t, "dir:"+path)
	put(t, b, "k", "x")
	b, err := blob.Open(t.Context(), "dir:"+path, blob.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(t, b, "k"); got != "x" || b.String() != "dir:"+path {
		t.Errorf("%s: %q, %v", b, got, err)
	}
	if left := names(t, path+"/o"); len(left) != 1 {
		t.Errorf("the store holds %q", left)
	}
}

func TestOpenS3(t *testing.T) {
	clearEnvironment(t)
	server := blobtest.StartVersityGW(t)
	store := server.NewBucket(t)
	u, err := url.Parse(store)
	if err != nil {
		t.Fatal(err)
	}
	bare := "s3://" + u.Host + "?endpoint=" + server.Endpoint
	openBare := func() (blob.Bucket, error) { return blob.Open(t.Context(), bare, blob.Options{}) }

	t.Run("two prefixes", func(t *testing.T) {
		u := *u
		u.Path = "/team/a"
		a := open(t, u.String())
		u.Path = "/team/b/"
		b, whole := open(t, u.String()), open(t, store)
		put(t, a, "k", "of a")
		put(t, b, "k", "of b")
		if got, err := get(t, whole, "team/a/k"); got != "of a" {
			t.Errorf("%q, %v", got, err)
		}
		page, err := b.List(t.Context(), blob.ListOptions{})
		if err != nil || len(page.Objects) != 1 || page.Objects[0].Key != "k" {
			t.Errorf("%+v, %v", page, err)
		}
		if name := b.String(); !strings.Contains(name, "team/b/") || !strings.Contains(name, server.Endpoint) {
			t.Errorf("name %q", name)
		}
	})
	t.Run("read-only writes nothing", func(t *testing.T) {
		var mu sync.Mutex
		calls := map[string]int{}
		observe := func(c blob.Call) { mu.Lock(); defer mu.Unlock(); calls[c.Operation+" "+c.Outcome]++ }
		if _, err := blob.Open(t.Context(), store, blob.Options{ReadOnly: true, Observe: observe}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]int{"list ok": 1}, calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
	t.Run("no such bucket", func(t *testing.T) {
		for _, readOnly := range []bool{false, true} {
			_, err := blob.Open(t.Context(), server.Store("nowhere", server.Endpoint), blob.Options{ReadOnly: readOnly})
			if !errors.Is(err, blob.ErrNoBucket) || !strings.Contains(err.Error(), "s3://nowhere") {
				t.Errorf("%v, want %v that names the bucket", err, blob.ErrNoBucket)
			}
		}
	})
	t.Run("bucket that exists", func(t *testing.T) {
		if err := blob.CreateBucket(t.Context(), store); err != nil {
			t.Error(err)
		}
		if err := blob.CreateBucket(t.Context(), "dir:x"); !errors.Is(err, blob.ErrStoreURL) {
			t.Errorf("dir: %v", err)
		}
	})
	t.Run("no server", func(t *testing.T) {
		began := time.Now()
		_, err := blob.Open(t.Context(), server.Store(u.Host, "http://127.0.0.1:1"), blob.Options{})
		if !errors.Is(err, blob.ErrUnavailable) || !errors.Is(err, blob.ErrNotSent) || time.Since(began) > 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
	t.Run("credentials of the environment", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
		if _, err := openBare(); err != nil {
			t.Error(err)
		}
		t.Setenv("AWS_ENDPOINT_URL_S3", server.Endpoint)
		if _, err := blob.Open(t.Context(), "s3://"+u.Host, blob.Options{}); err != nil {
			t.Errorf("the endpoint, too: %v", err)
		}
	})
	t.Run("wrong credentials", func(t *testing.T) {
		for key, secret := range map[string]string{server.AccessKey: "wrong-secret", "wrong-key": server.SecretKey} {
			t.Setenv("AWS_ACCESS_KEY_ID", key)
			t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
			if _, err := openBare(); !errors.Is(err, blob.ErrDenied) || strings.Contains(err.Error(), secret) {
				t.Errorf("%v, want %v without the secret", err, blob.ErrDenied)
			}
		}
	})
	t.Run("a profile", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "credentials")
		text := fmt.Sprintf("[default]\naws_access_key_id = no\naws_secret_access_key = no\n[mine]\naws_access_key_id = %s\naws_secret_access_key = %s\n", server.AccessKey, server.SecretKey)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
		if _, err := openBare(); !errors.Is(err, blob.ErrDenied) {
			t.Errorf("default: %v", err)
		}
		if _, err := blob.Open(t.Context(), bare+"&profile=mine", blob.Options{}); err != nil {
			t.Errorf("named in the URL: %v", err)
		}
		t.Setenv("AWS_PROFILE", "mine")
		if _, err := openBare(); err != nil {
			t.Errorf("named by AWS_PROFILE: %v", err)
		}
	})
	t.Run("a role", func(t *testing.T) {
		asked := 0
		role := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			fmt.Fprintf(w, `{"AccessKeyId":%q,"SecretAccessKey":%q,"Token":"","Expiration":%q}`, server.AccessKey, server.SecretKey, time.Now().Add(time.Hour).Format(time.RFC3339))
		}))
		defer role.Close()
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", role.URL)
		if _, err := openBare(); err != nil || asked != 1 {
			t.Errorf("%v, asked %d times", err, asked)
		}
	})
	t.Run("a web identity", func(t *testing.T) {
		token := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(token, []byte("identity"), 0o600); err != nil {
			t.Fatal(err)
		}
		sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("WebIdentityToken") != "identity" || r.FormValue("RoleArn") != "arn:aws:iam::1:role/models" {
				http.Error(w, "who is that?", http.StatusForbidden)
				return
			}
			fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken></SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
				server.AccessKey, server.SecretKey, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		}))
		defer sts.Close()
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
		t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/models")
		t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
		if _, err := openBare(); err != nil {
			t.Error(err)
		}
	})
	t.Run("no credentials", func(t *testing.T) {
		role := httptest.NewServer(http.NotFoundHandler())
		defer role.Close()
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", role.URL)
		if _, err := openBare(); !errors.Is(err, blob.ErrDenied) || !strings.Contains(err.Error(), "no credentials found") {
			t.Errorf("%v, want %v", err, blob.ErrDenied)
		}
	})
}

// carelessS3 speaks S3 well enough to be opened, and overlooks conditions.
func carelessS3(t *testing.T) string {
	store := blob.NewMemory()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		var err error
		var o blob.Object
		switch q := r.URL.Query(); {
		case key == "" && r.Method == http.MethodGet:
			page, _ := store.List(r.Context(), blob.ListOptions{Prefix: q.Get("prefix")})
			type content struct {
				Key          string
				LastModified time.Time
			}
			var list struct {
				XMLName  xml.Name `xml:"ListBucketResult"`
				Contents []content
			}
			for _, o := range page.Objects {
				list.Contents = append(list.Contents, content{o.Key, o.Modified})
			}
			xml.NewEncoder(w).Encode(list)
			return
		case r.Method == http.MethodPut:
			o, err = store.Put(r.Context(), key, r.Body, blob.PutOptions{Size: r.ContentLength})
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
			store.Delete(r.Context(), key)
			return
		default:
			o, err = store.Stat(r.Context(), key)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(o.Size))
		w.Header().Set("ETag", `"`+o.ETag+`"`)
		w.Header().Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
		if r.Method == http.MethodPut {
			w.Header().Del("Content-Length")
		}
		if r.Method == http.MethodGet {
			body, _, _ := store.Get(r.Context(), key, blob.Range{})
			io.Copy(w, body)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestOpenRefusesABrokenStore(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	_, err := blob.Open(t.Context(), "s3://bucket?endpoint="+carelessS3(t), blob.Options{})
	if !errors.Is(err, blob.ErrBroken) || !strings.Contains(err.Error(), "create once") {
		t.Errorf("%v, want %v that names the check", err, blob.ErrBroken)
	}
}

func TestObserveOutcomes(t *testing.T) {
	got := map[string]int{}
	f := blobtest.NewFaulty(blob.NewMemory(), 1)
	b := blob.Observe(f, func(c blob.Call) {
		got[c.Operation+" "+c.Outcome]++
		if c.Duration < 0 {
			t.Errorf("%+v", c)
		}
	})
	ctx := t.Context()
	over, cancel := context.WithCancel(ctx)
	cancel()
	put(t, b, "k", "content")
	b.Put(ctx, "k", strings.NewReader("x"), blob.PutOptions{Size: 1, IfAbsent: true})
	b.Put(ctx, "k", strings.NewReader("x"), blob.PutOptions{Size: 2})
	b.Stat(ctx, "absent")
	b.Stat(ctx, "")
	b.Stat(over, "k")
	b.Get(ctx, "k", blob.Range{Offset: 100})
	f.SetRules(blobtest.Rule{Fault: blobtest.Cut})
	if _, err := get(t, b, "k"); err == nil {
		t.Error("the body was not cut")
	}
	b.AbortUploads(ctx, "k")
	for err, name := range map[error]string{blob.ErrUnavailable: "unavailable", blob.ErrDenied: "denied", blob.ErrNoBucket: "no_bucket", blob.ErrFull: "full"} {
		f.SetRules(blobtest.Rule{Fault: blobtest.Before, Err: err})
		b.List(ctx, blob.ListOptions{})
		if err := b.Delete(ctx, "k"); err == nil || got["delete "+name] != 1 {
			t.Errorf("delete: %v counts as %v", err, got)
		}
	}
	want := map[string]int{"put ok": 1, "put precondition": 1, "put other": 1, "stat not_found": 1, "stat invalid": 1, "stat cancelled": 1,
		"get range": 1, "get ok": 1, "read unavailable": 1, "abort_uploads ok": 1,
		"list unavailable": 1, "list denied": 1, "list no_bucket": 1, "list full": 1,
		"delete unavailable": 1, "delete denied": 1, "delete no_bucket": 1, "delete full": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}
