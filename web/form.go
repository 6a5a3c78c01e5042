package web

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"mime/multipart"

	"modelbucket/registry"
)

// formPart is one part of a form. File names are taken as they were sent: what looks
// like a path elsewhere is refused by the names' grammar, not trimmed.
type formPart struct {
	*multipart.Part
	name string
	file registry.FileName // "" in the part "metadata" alone, and in the one that signs
	// signs: it is the signature of the files, by its file name.
	signs bool
}

const metadataPart = "metadata"

// startsWith wants a form to begin with its boundary: what RFC 2046 allows before it
// nobody sends, and it might have no end.
func startsWith(form *bufio.Reader, boundary string) error {
	begin, err := form.Peek(len(boundary))
	if err != nil && err != io.EOF {
		return err
	}
	if string(begin) != boundary {
		return problemf(codeBadRequest, "the form is malformed: it does not begin with its boundary").hint("it begins with -- and the boundary that the Content-Type names")
	}
	return nil
}

// maxBehind bounds what may follow a form's end, in bytes, beside what was read already.
const maxBehind = 64 << 10

// endsSoon reads a form's body to its end.
func endsSoon(body io.Reader) error {
	switch _, err := io.CopyN(io.Discard, body, maxBehind); err {
	case nil:
		return problemf(codeBadRequest, "the body goes on behind the form's end")
	case io.EOF:
		return nil
	default:
		return err
	}
}

// nextPart is nil at the form's end.
func nextPart(form *multipart.Reader, n int) (*formPart, error) {
	part, err := form.NextRawPart()
	switch {
	case err == io.EOF:
		return nil, nil
	case err != nil:
		return nil, badForm(err)
	case n >= maxParts:
		return nil, problemf(codeBadRequest, "the form has more than %d parts", maxParts)
	}
	disposition, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil || disposition != "form-data" {
		return nil, problemf(codeBadRequest, "part %d of the form has no Content-Disposition: form-data", n+1)
	}
	if err := admitEncoding("part", part.Header); err != nil {
		return nil, err
	}
	if params["filename"] == registry.SignatureName {
		return &formPart{Part: part, name: params["name"], signs: true}, nil
	}
	file, err := optional(params["filename"], registry.ParseFileName)
	if err != nil {
		return nil, err
	}
	if file == "" && params["name"] != metadataPart {
		return nil, problemf(codeBadRequest, "the form has a part %s that is no file", shown(params["name"])).hint("the parts are metadata and files, each with a filename")
	}
	return &formPart{Part: part, name: params["name"], file: file}, nil
}

// badForm keeps a problem of the body itself, and explains all else.
func badForm(err error) error {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	return problemf(codeBadRequest, "the form is malformed or breaks off").hint("nothing was saved: send it again, whole; it ends with its boundary and two dashes")
}

func readMetadata(part *formPart) (said publishBody, err error) {
	kind, _, err := mediaType(part.Header.Get("Content-Type"))
	if err != nil || kind != "" && kind != "application/json" && kind != "text/plain" {
		return said, unsupported(part.Header.Get("Content-Type"), "the part metadata as application/json")
	}
	data, err := io.ReadAll(io.LimitReader(part, maxJSON+1))
	switch {
	case err != nil:
		return said, badForm(err)
	case len(data) > maxJSON:
		return said, problemf(codeTooLarge, "the part metadata is larger than %d bytes", maxJSON)
	}
	return said, DecodeJSON(data, &said)
}

// formBuffer lies between the connection and mime/multipart, which reads 4 KiB at a time.
const formBuffer = 256 << 10

// formReader is a part's content, in pieces as large as asked for; its errors tell what
// is wrong with the form.
type formReader struct{ from io.Reader }

func (r formReader) Read(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.from.Read(p[n:])
		n += m
	}
	if err != nil && err != io.EOF {
		err = badForm(err)
	}
	return n, err
}
