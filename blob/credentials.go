package blob

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// findCredentials looks where the AWS tools look: the environment (AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), the shared files with their profiles
// (~/.aws, AWS_PROFILE), and the role of the machine, container or service account
// (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_CREDENTIALS_FULL_URI and the like). A file
// or a profile that the store URL names is the only place then.
func findCredentials(l *location) *credentials.Credentials {
	file := &credentials.FileAWSCredentials{Filename: l.credentialsFile, Profile: l.profile}
	if l.credentialsGiven {
		return credentials.New(&sources{providers: []credentials.Provider{file}})
	}
	// Where there is no role nobody answers: do not wait long for that.
	role := &credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}, Region: l.region}
	if os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "" {
		role.Endpoint = os.Getenv("AWS_ENDPOINT_URL_STS")
	}
	return credentials.New(&sources{providers: []credentials.Provider{&credentials.EnvAWS{}, file, role}})
}

// sources asks one provider after another. Unlike minio-go's chain it never goes on
// without credentials when they can't be had, or can't be renewed just now: a call
// made without them would be refused, and taken for a wrong key.
type sources struct {
	providers []credentials.Provider
	current   credentials.Provider
}

var errNoCredentials = errors.New("no credentials found")

func (s *sources) RetrieveWithCredContext(c *credentials.CredContext) (credentials.Value, error) {
	var reasons []error
	for _, p := range s.providers {
		v, err := p.RetrieveWithCredContext(c)
		if err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			s.current = p
			return v, nil
		}
		if err != nil {
			reasons = append(reasons, err)
		}
	}
	return credentials.Value{}, fmt.Errorf("%w: %w", errNoCredentials, errors.Join(reasons...))
}

func (s *sources) Retrieve() (credentials.Value, error) { return s.RetrieveWithCredContext(nil) }

func (s *sources) IsExpired() bool { return s.current == nil || s.current.IsExpired() }
