package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"modelbucket/registry"
)

// Publication says what is published: all but Tenant and Model may be left out.
type Publication struct {
	Tenant       registry.Tenant
	Model        registry.Model
	Label        registry.Label
	Aliases      []registry.Alias
	Description  string
	Tags         map[string]string
	UserMetadata json.RawMessage
	// Features name the values of a row, for a detector that does not name them itself.
	Features []string
	// Signature of the files (nil: none); registry.SignFiles makes one.
	Signature []byte
	// Key is the idempotency key. "": one is made for the call, which covers its own
	// repeats; give one to cover repeats of the program.
	Key string
}

// File is a file to be uploaded.
type File struct {
	Name registry.FileName
	// Size in bytes, or -1 where it is unknown.
	Size int64
	// SHA256 in hex, where it is known: the server refuses bytes that differ.
	SHA256 string
	// Open opens the content, anew for each try.
	Open func() (io.ReadCloser, error)
	// Once: it cannot be opened again, so the upload is tried only once.
	Once bool
}

// Publish uploads files as one new version.
func (c *Client) Publish(ctx context.Context, p Publication, files ...File) (*registry.Version, error) {
	form, err := newForm(p, files)
	if err != nil {
		return nil, err
	}
	r := &request{
		method: "POST", path: modelPath(p.Tenant, p.Model, "versions"), repeatable: true,
		body: form.open, length: form.length,
	}
	r.once = slices.ContainsFunc(files, func(f File) bool { return f.Once })
	r.set("Content-Type", "multipart/form-data; boundary="+form.boundary).set("Idempotency-Key", keyOr(p.Key))
	v := new(registry.Version)
	return v, c.fetch(ctx, r, v)
}

// form is a multipart body that streams: heads of parts in memory, files as they are
// read.
type form struct {
	boundary string
	pieces   []piece
	length   int64 // -1: unknown
}

type piece struct {
	text []byte
	file *File
}

func newForm(p Publication, files []File) (*form, error) {
	metadata := map[string]any{}
	if p.Label != "" {
		metadata["label"] = p.Label
	}
	if len(p.Aliases) > 0 {
		metadata["aliases"] = p.Aliases
	}
	if len(p.Features) > 0 {
		metadata["features"] = p.Features
	}
	if p.Description != "" {
		metadata["description"] = p.Description
	}
	if len(p.Tags) > 0 {
		metadata["tags"] = p.Tags
	}
	if len(p.UserMetadata) > 0 {
		metadata["user_metadata"] = p.UserMetadata
	}
	data, err := json.Marshal(metadata)
	if err != nil {
		return nil, fmt.Errorf("encode metadata: %w", err)
	}
	var text bytes.Buffer
	w := multipart.NewWriter(&text)
	f := &form{boundary: w.Boundary()}
	cut := func(file *File) {
		f.pieces = append(f.pieces, piece{text: bytes.Clone(text.Bytes()), file: file})
		f.length += int64(text.Len())
		text.Reset()
	}
	part, err := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="metadata"`}, "Content-Type": {"application/json"},
	})
	if err != nil {
		return nil, err
	}
	part.Write(data) // into memory
	if p.Signature != nil {
		part, err := w.CreateFormFile("file", registry.SignatureName)
		if err != nil {
			return nil, err
		}
		part.Write(p.Signature) // into memory
	}
	known := true
	for i := range files {
		head, err := files[i].head()
		if err != nil {
			return nil, err
		}
		if _, err := w.CreatePart(head); err != nil {
			return nil, err
		}
		cut(&files[i])
		known = known && files[i].Size >= 0
		f.length += files[i].Size
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	cut(nil)
	if !known {
		f.length = -1
	}
	return f, nil
}

func (f *File) head() (textproto.MIMEHeader, error) {
	name := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(f.Name))
	head := textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="file"; filename="` + name + `"`},
		"Content-Type":        {"application/octet-stream"},
	}
	if f.Size >= 0 {
		head.Set("Content-Length", strconv.FormatInt(f.Size, 10))
	}
	if f.SHA256 != "" {
		sum, err := hex.DecodeString(f.SHA256)
		if err != nil {
			return nil, fmt.Errorf("SHA-256 of %s: %w", f.Name, err)
		}
		head.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":")
	}
	return head, nil
}

func (f *form) open() (io.ReadCloser, error) { return &formReader{pieces: f.pieces}, nil }

// formReader reads one piece after another and opens each file when its turn comes.
type formReader struct {
	pieces []piece
	text   int // read of the first piece's text
	file   io.ReadCloser
	left   int64 // of the file, where its size is known
}

func (r *formReader) Read(p []byte) (int, error) {
	for len(r.pieces) > 0 {
		now := r.pieces[0]
		if r.text < len(now.text) {
			n := copy(p, now.text[r.text:])
			r.text += n
			return n, nil
		}
		if now.file == nil {
			r.pieces, r.text = r.pieces[1:], 0
			continue
		}
		n, err := r.readFile(now.file, p)
		if err == io.EOF {
			err = r.Close()
			r.pieces, r.text = r.pieces[1:], 0
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

// readFile reads on in a file, and holds it to the size that was announced.
func (r *formReader) readFile(f *File, p []byte) (n int, err error) {
	if r.file == nil {
		if r.file, err = f.Open(); err != nil {
			return 0, fmt.Errorf("open %s: %w", f.Name, err)
		}
		r.left = f.Size
	}
	n, err = r.file.Read(p)
	if err != nil && err != io.EOF {
		return n, fmt.Errorf("read %s: %w", f.Name, err)
	}
	if f.Size < 0 {
		return n, err
	}
	r.left -= int64(n)
	if r.left < 0 || err == io.EOF && r.left != 0 {
		return 0, fmt.Errorf("read %s: %w", f.Name, errChanged)
	}
	return n, err
}

var errChanged = errors.New("its size changed while it was uploaded")

func (r *formReader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
