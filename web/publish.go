package web

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"mime/multipart"
	"slices"
	"strconv"

	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/registry/signature"
)

// maxParts bounds a form, in parts: the metadata, the files and their signature.
const maxParts = 258

// publishBody is what is said of a version that is being published: the form's part
// "metadata", or the query of a raw body.
type publishBody struct {
	Label        registry.Label               `json:"label"`
	Features     []string                     `json:"features"`
	Description  string                       `json:"description"`
	Tags         map[string]string            `json:"tags"`
	Aliases      []registry.Alias             `json:"aliases"`
	UserMetadata json.RawMessage              `json:"user_metadata"`
	SHA256       map[registry.FileName]string `json:"sha256"`
}

// publish takes files in and makes them a version. They stream into the store as they
// come: as parts of a form, or as one raw body.
func (s *Server) publish(c *call) error {
	sent := c.r.Header.Get("Content-Type")
	kind, params, err := mediaType(sent)
	if err != nil {
		return err
	}
	one, err := c.enter(s.works.uploading, 1)
	if err != nil {
		return err
	}
	defer one.leave()
	weight := int64(uploadWeight)
	if length := c.r.ContentLength; length >= 0 && length < weight {
		weight = max(length, streamWeight)
	}
	held, err := c.enter(s.works.uploads, weight)
	if err != nil {
		return err
	}
	defer held.leave()
	switch kind {
	case "multipart/form-data":
		return s.publishForm(c, params["boundary"])
	case "", "application/octet-stream":
		return s.publishRaw(c)
	}
	return unsupported(sent, "multipart/form-data, or one file as application/octet-stream (curl -T, or --data-binary with -H 'Content-Type: application/octet-stream')")
}

// publishRaw takes the body as the one file of the version.
func (s *Server) publishRaw(c *call) error {
	q, err := c.query("filename", "label", "alias…", "features…", "description", "sha256")
	if err != nil {
		return err
	}
	name := registry.FileName("model.joblib")
	if q.Has("filename") {
		if name, err = registry.ParseFileName(q.Get("filename")); err != nil {
			return err
		}
	}
	said := publishBody{Features: q.Values["features"], Description: q.Get("description")}
	if said.Label, err = optional(q.Get("label"), registry.ParseLabel); err != nil {
		return err
	}
	if said.Aliases, err = q.aliases(); err != nil {
		return err
	}
	digest, err := declaredDigest(c.r.Header.Get("Repr-Digest"), q.Get("sha256"))
	if err != nil {
		return err
	}
	limit, err := s.uploadLimit(c, 0)
	if err != nil {
		return err
	}
	body := s.lentBody(c, limit)
	defer body.turn.give()
	if c.r.ContentLength == 0 {
		return problemf(codeBadRequest, "the body is empty").hint("send the file as the body: curl -T model.joblib")
	}
	p, err := s.begin(c, said)
	if err != nil {
		return err
	}
	defer p.end()
	if body.request.limit, err = s.uploadLimit(c, 0); err != nil {
		return err
	}
	if err := p.file(c, name, body, c.r.ContentLength, digest); err != nil {
		return err
	}
	return p.commit(c)
}

// publishForm takes a form: at most one part "metadata", before all else, and a part
// with a file name for each file.
func (s *Server) publishForm(c *call, boundary string) error {
	if _, err := c.query(); err != nil {
		return err
	}
	if boundary == "" || len(boundary) > 70 {
		return problemf(codeBadRequest, "the form's boundary has %d characters; it has 1 to 70 (RFC 2046)", len(boundary))
	}
	limit, err := s.uploadLimit(c, maxJSON)
	if err != nil {
		return err
	}
	body := s.lentBody(c, limit)
	defer body.turn.give()
	buffered := bufio.NewReaderSize(body, formBuffer)
	if err := startsWith(buffered, "--"+boundary); err != nil {
		return err
	}
	form := multipart.NewReader(buffered, boundary)
	part, err := nextPart(form, 0)
	if err != nil {
		return err
	}
	var said publishBody
	if part != nil && part.name == metadataPart {
		if said, err = readMetadata(part); err != nil {
			return err
		}
		if part, err = nextPart(form, 1); err != nil {
			return err
		}
	}
	p, err := s.begin(c, said)
	if err != nil {
		return err
	}
	defer p.end()
	if body.request.limit, err = s.uploadLimit(c, maxJSON); err != nil {
		return err
	}
	for n := 2; part != nil; n++ {
		if part.name == metadataPart {
			return problemf(codeBadRequest, "the part metadata comes after a file, or twice").hint("send it once and first, so that a wrong one is refused before the files are sent")
		}
		if err := p.part(c, part); err != nil {
			return err
		}
		if part, err = nextPart(form, n); err != nil {
			return err
		}
	}
	if err := endsSoon(body); err != nil {
		return err
	}
	return p.commit(c)
}

// publication is an upload under way.
type publication struct {
	server  *Server
	upload  *registry.Upload
	said    publishBody
	pending map[registry.FileName]string // declared digests whose files have not come yet
	files   *detector.Describer
}

// begin admits a publication and opens its upload. No byte of a file was read yet.
func (s *Server) begin(c *call, said publishBody) (*publication, error) {
	if err := c.mayAlias(c.tenant, said.Aliases); err != nil {
		return nil, err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return nil, err
	}
	p := &publication{server: s, said: said, pending: map[registry.FileName]string{}, files: detector.NewDescriber()}
	for name, sum := range said.SHA256 {
		if p.pending[name], err = declaredDigest("", sum); err != nil {
			return nil, err
		}
	}
	if len(said.UserMetadata) > 0 && said.UserMetadata[0] != '{' {
		return nil, problemf(codeBadRequest, "user_metadata is no object").hint(`for example {"accuracy":0.95}`)
	}
	p.upload, err = s.registry.Begin(c.r.Context(), registry.Publication{
		Tenant: c.tenant, Model: c.model, Label: said.Label, Key: key, By: c.who.Name, Aliases: said.Aliases,
		Description: said.Description, Tags: said.Tags, UserMetadata: said.UserMetadata, Size: max(0, c.r.ContentLength),
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// end lets go of all that a publication holds. What was not committed is dropped.
func (p *publication) end() {
	p.files.Close()
	p.upload.Abort()
}

// part takes in one part of a form as a file.
func (p *publication) part(c *call, part *formPart) error {
	if part.signs {
		return p.signature(part)
	}
	size := int64(-1)
	if length := part.Header.Get("Content-Length"); length != "" {
		var err error
		if size, err = strconv.ParseInt(length, 10, 64); err != nil || size < 0 {
			return problemf(codeBadRequest, "the part %s has the Content-Length %s", part.file, shown(length))
		}
	}
	digest, err := declaredDigest(part.Header.Get("Repr-Digest"), p.pending[part.file])
	if err != nil {
		return err
	}
	delete(p.pending, part.file)
	return p.file(c, part.file, formReader{part}, size, digest)
}

// signature takes in the part of a form that signs its files.
func (p *publication) signature(part *formPart) error {
	data, err := io.ReadAll(io.LimitReader(part, signature.MaxBundle+1)) // one byte more is one too many
	if err != nil {
		return badForm(err)
	}
	return p.upload.Signature(data)
}

// peekBytes of a file without an announced size are held back: if it ends within them
// its size is known, and the store takes it in one go.
const peekBytes = 1 << 20

// file streams one file into the store, and past the eyes of who finds out what it is.
func (p *publication) file(c *call, name registry.FileName, body io.Reader, size int64, digest string) error {
	if size < 0 {
		buffered := bufio.NewReaderSize(body, peekBytes)
		head, err := buffered.Peek(peekBytes)
		if err != nil && err != io.EOF {
			return err
		}
		if err == io.EOF {
			size = int64(len(head))
		}
		body = buffered
	}
	_, err := p.upload.File(c.r.Context(), name, p.files.Watch(name, body), size, digest)
	return err
}

// commit makes the version and answers with it.
func (p *publication) commit(c *call) error {
	for _, name := range slices.Sorted(maps.Keys(p.pending)) {
		return problemf(codeBadRequest, "the metadata declares a SHA-256 of %s, and no such file came", shown(string(name)))
	}
	facts, err := p.files.Facts(p.said.Features)
	if err != nil {
		return err
	}
	if err := c.rights.last(); err != nil {
		return err
	}
	v, err := p.upload.Commit(c.r.Context(), facts)
	if err != nil {
		return err
	}
	return p.server.created(c, v)
}

// mayAlias admits a caller who also wants to set aliases.
func (c *call) mayAlias(tenant registry.Tenant, aliases []registry.Alias) error {
	if len(aliases) == 0 {
		return nil
	}
	return authorise(c.who, AliasWrite, tenant)
}
