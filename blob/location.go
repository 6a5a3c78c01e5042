package blob

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// location is a store URL that has been understood.
type location struct {
	kind string // memory, dir, s3
	path string // of a dir

	bucket, prefix   string
	host             string // "": Amazon's, by region
	secure           bool
	region           string
	pathStyle        bool
	credentialsFile  string
	profile          string
	credentialsGiven bool // in the URL: look nowhere else
}

const exampleS3 = "s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1&path-style=true"

var parameters = []string{"endpoint", "region", "path-style", "credentials-file", "profile"}

func badURL(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrStoreURL, fmt.Sprintf(format, a...))
}

// parseLocation reads a store URL. What it leaves open comes from env (os.Getenv).
// No error repeats what may be a secret.
func parseLocation(store string, env func(string) string) (location, error) {
	scheme, rest, found := strings.Cut(store, ":")
	switch {
	case store == "memory:":
		return location{kind: "memory"}, nil
	case scheme == "memory" && found:
		return location{}, badURL(`behind "memory:" nothing may follow`)
	case scheme == "dir" && found:
		return parseDir(rest)
	case scheme == "s3" && strings.HasPrefix(rest, "//"):
		return parseS3(store, env)
	case scheme == "s3":
		return location{}, badURL(`"s3:" must be followed by "//" and a bucket, as in %s`, exampleS3)
	}
	return location{}, badURL(`it must begin with "dir:", "s3://" or "memory:", as in dir:./models or %s`, exampleS3)
}

func parseDir(path string) (location, error) {
	switch {
	case path == "":
		return location{}, badURL(`"dir:" must be followed by the path of a folder, as in dir:./models`)
	case strings.HasPrefix(path, "//"):
		return location{}, badURL(`behind "dir:" a path follows without "//", as in dir:./models or dir:/srv/models`)
	case strings.ContainsRune(path, 0):
		return location{}, badURL("a path has no NUL byte")
	}
	return location{kind: "dir", path: path}, nil
}

func parseS3(store string, env func(string) string) (location, error) {
	u, err := url.Parse(store)
	if err != nil {
		return location{}, badURL("it is no URL; right would be, for example, %s", exampleS3)
	}
	l := location{kind: "s3", bucket: u.Host, secure: true}
	switch {
	case u.User != nil:
		return location{}, badURL("credentials do not belong into it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with credentials-file=")
	case u.Fragment != "":
		return location{}, badURL(`it has a part behind "#"`)
	case l.bucket == "":
		return location{}, badURL("the bucket is missing; right would be, for example, %s", exampleS3)
	}
	if err := s3utils.CheckValidBucketNameStrict(l.bucket); err != nil {
		return location{}, badURL("%q is no name of a bucket: %v", l.bucket, err)
	}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		if err := checkKey(prefix); err != nil {
			return location{}, badURL("no prefix: %v", err)
		}
		l.prefix = prefix + "/"
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return location{}, badURL(`what follows "?" is no list of parameters; right would be, for example, %s`, exampleS3)
	}
	for name, values := range q {
		if !slices.Contains(parameters, name) {
			return location{}, badURL("there is no parameter %q, there are %s", name, strings.Join(parameters, ", "))
		}
		if len(values) > 1 || values[0] == "" {
			return location{}, badURL("the parameter %s must have one value", name)
		}
	}
	l.credentialsFile, l.profile = q.Get("credentials-file"), q.Get("profile")
	l.credentialsGiven = l.credentialsFile != "" || l.profile != ""
	if err := l.setEndpoint(firstOf(q.Get("endpoint"), env("AWS_ENDPOINT_URL_S3"), env("AWS_ENDPOINT_URL"))); err != nil {
		return location{}, err
	}
	l.region = firstOf(q.Get("region"), env("AWS_REGION"), env("AWS_DEFAULT_REGION"))
	if l.region == "" && l.amazon() {
		return location{}, badURL("in which region is the bucket? Say region=eu-central-1, for example, or set AWS_REGION")
	}
	l.region = firstOf(l.region, "us-east-1")
	switch q.Get("path-style") {
	case "":
		l.pathStyle = !l.amazon()
	case "true":
		l.pathStyle = true
	case "false":
	default:
		return location{}, badURL("path-style is true (http://host/bucket/key) or false (http://bucket.host/key)")
	}
	return l, nil
}

func (l *location) setEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return badURL("the endpoint must be http:// or https:// with a host and nothing behind it, as in http://127.0.0.1:9000")
	}
	l.host, l.secure = u.Host, u.Scheme == "https"
	return nil
}

// amazon: the host follows from the region, and buckets are host names.
func (l *location) amazon() bool {
	return l.host == "" || strings.HasSuffix(l.host, ".amazonaws.com") || strings.HasSuffix(l.host, ".amazonaws.com.cn")
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func (l *location) s3Config() s3Config {
	c := s3Config{
		Bucket: l.bucket, Host: l.host, Secure: l.secure, Region: l.region, PathStyle: l.pathStyle,
		Credentials: findCredentials(l),
	}
	if c.Host == "" {
		c.Host = "s3." + l.region + ".amazonaws.com"
		if strings.HasPrefix(l.region, "cn-") {
			c.Host += ".cn"
		}
	}
	return c
}
