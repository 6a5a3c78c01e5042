package blobtest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Hop is the peer of a node for large transfers: an HTTP server that passes a body on
// to S3 and back with minio-go alone and digests it on the way, and does nothing else.
// PUT and GET /<object>; the digest is in the header Digest, behind the body of a GET.
func (s *Server) Hop(bucket string) (http.Handler, error) {
	return NewHop(s.Endpoint, s.AccessKey, s.SecretKey, bucket)
}

// NewHop is the same for a process of its own.
func NewHop(endpoint, accessKey, secretKey, bucket string) (http.Handler, error) {
	client, err := minio.New(strings.TrimPrefix(endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: "us-east-1",
	})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, name := sha256.New(), strings.TrimPrefix(r.URL.Path, "/")
		var err error
		if r.Method == http.MethodPut {
			_, err = client.PutObject(r.Context(), bucket, name, io.TeeReader(r.Body, h), r.ContentLength, minio.PutObjectOptions{})
			w.Header().Set("Digest", hex.EncodeToString(h.Sum(nil)))
		} else {
			w.Header().Set("Trailer", "Digest")
			var object *minio.Object
			if object, err = client.GetObject(r.Context(), bucket, name, minio.GetObjectOptions{}); err == nil {
				_, err = io.Copy(w, io.TeeReader(object, h))
				err = errors.Join(err, object.Close())
				w.Header().Set("Digest", hex.EncodeToString(h.Sum(nil)))
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	}), nil
}
