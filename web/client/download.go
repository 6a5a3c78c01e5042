package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"

	"modelbucket/registry"
	"modelbucket/web"
)

// Download is a file on its way. Reading verifies it: where its bytes do not have the
// SHA-256 that was saved, the last Read is an *Error "corrupt" instead of io.EOF. What
// was read before it must not be used.
type Download struct {
	Version registry.Number // which version it belongs to
	Size    int64           // in bytes
	SHA256  string          // in hex

	name registry.FileName
	body io.ReadCloser
	hash hash.Hash
	read int64
}

// Open opens a file of a version for download. The caller closes it.
func (c *Client) Open(ctx context.Context, ref registry.Ref, name registry.FileName) (*Download, error) {
	r := &request{method: "GET", path: refPath(ref, append([]string{"files"}, strings.Split(string(name), "/")...)...), repeatable: true}
	answer, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	d := &Download{Size: answer.ContentLength, name: name, body: answer.Body, hash: sha256.New()}
	if _, err := fmt.Sscan(answer.Header.Get("Content-Length"), &d.Size); err != nil {
		answer.Body.Close()
		return nil, fmt.Errorf("download %s: the answer has no length: %w", name, err)
	}
	d.Version, err = registry.ParseNumber(answer.Header.Get("Modelbucket-Version"))
	if err == nil {
		d.SHA256, err = digestOf(answer.Header.Get("Repr-Digest"))
	}
	if err != nil {
		answer.Body.Close()
		return nil, fmt.Errorf("download %s: the answer says not what it is: %w", name, err)
	}
	return d, nil
}

func digestOf(header string) (string, error) {
	text, ok := strings.CutPrefix(header, "sha-256=:")
	sum, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(text, ":"))
	if !ok || err != nil || len(sum) != sha256.Size {
		return "", fmt.Errorf("no SHA-256 in Repr-Digest %q", header)
	}
	return hex.EncodeToString(sum), nil
}

func (d *Download) Read(p []byte) (int, error) {
	n, err := d.body.Read(p)
	d.hash.Write(p[:n])
	d.read += int64(n)
	switch {
	case err == io.EOF && d.read < d.Size:
		err = fmt.Errorf("download %s: broke off after %d of %d bytes: %w", d.name, d.read, d.Size, io.ErrUnexpectedEOF)
	case err == io.EOF:
		if sum := hex.EncodeToString(d.hash.Sum(nil)); sum != d.SHA256 {
			err = &Error{web.Problem{
				Title: "Corrupt", Code: "corrupt", Detail: fmt.Sprintf("%s arrived with SHA-256 %s, saved was %s", d.name, sum, d.SHA256),
				Hint: "download it again; if that does not help, have the server verify the version",
			}}
		}
	case err != nil:
		err = fmt.Errorf("download %s: %w", d.name, err)
	}
	return n, err
}

func (d *Download) Close() error { return d.body.Close() }
