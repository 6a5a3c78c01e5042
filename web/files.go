package web

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/textproto"
	"path"
	"strconv"
	"strings"

	"modelbucket/blob"
	"modelbucket/registry"
)

// getFile sends a file, or one range of it. Its bytes were verified before they leave;
// if a later one proves wrong the connection breaks, so that nobody takes the rest for
// a whole file.
func (s *Server) getFile(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	v, err := s.registry.Served(c.r.Context(), c.ref())
	if err != nil {
		return err
	}
	f, ok := v.File(c.file)
	if !ok {
		return fmt.Errorf("%w: %s has no file %s; it has %s", registry.ErrFileNotFound, v.Ref(), c.file, fileNames(v))
	}
	head := s.fileHeader(c, v, f)
	if none := c.r.Header.Get("If-None-Match"); none != "" && matches(none, head.Get("ETag")) {
		head.Del("Content-Length")
		return c.send(http.StatusNotModified, head, nil)
	}
	part, status, err := c.fileRange(f, head)
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead || f.Size == 0 {
		return c.send(status, head, nil)
	}
	if err := c.hold(min(f.Size, pieceWeight)); err != nil {
		return err
	}
	body, err := s.registry.OpenFile(c.r.Context(), v, f.Name, part)
	if err != nil {
		return err
	}
	return errors.Join(c.send(status, head, body), body.Close())
}

func fileNames(v *registry.Version) string {
	names := make([]string, 0, 5)
	for _, f := range v.Files {
		if len(names) == 4 && len(v.Files) > 5 {
			names = append(names, fmt.Sprintf("%d more", len(v.Files)-4))
			break
		}
		names = append(names, string(f.Name))
	}
	return strings.Join(names, ", ")
}

// fileHeader is what is told of a file: whatever the uploader called it, a browser
// only ever saves it.
func (s *Server) fileHeader(c *call, v *registry.Version, f registry.File) http.Header {
	h := http.Header{}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(string(f.Name))}))
	h.Set("Content-Length", strconv.FormatInt(f.Size, 10))
	h.Set("Accept-Ranges", "bytes")
	h.Set("ETag", `"`+f.SHA256+`"`)
	if sum, err := hex.DecodeString(f.SHA256); err == nil {
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":")
	}
	h.Set("Modelbucket-Version", v.Version.String())
	h.Set("Cache-Control", "private, no-cache")
	if c.version.Number != 0 || c.version.Label != "" {
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	return h
}

// fileRange reads the Range header. Several ranges, or one in a form that is not
// understood, are answered with the whole file, as RFC 9110 §14.2 allows.
func (c *call) fileRange(f registry.File, head http.Header) (blob.Range, int, error) {
	spec, ok := strings.CutPrefix(c.r.Header.Get("Range"), "bytes=")
	if ifRange := c.r.Header.Get("If-Range"); !ok || ifRange != "" && ifRange != head.Get("ETag") {
		return blob.Range{}, http.StatusOK, nil
	}
	first, last, ok := parseRange(textproto.TrimString(spec), f.Size)
	if !ok {
		return blob.Range{}, http.StatusOK, nil
	}
	if first >= f.Size || last < first {
		p := problemf(codeBadRequest, "%s has %d bytes; the range begins beyond them", f.Name, f.Size)
		p.Status, p.Title = http.StatusRequestedRangeNotSatisfiable, "Range not satisfiable"
		return blob.Range{}, 0, p.set("Content-Range", fmt.Sprintf("bytes */%d", f.Size))
	}
	head.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, f.Size))
	head.Set("Content-Length", strconv.FormatInt(last-first+1, 10))
	return blob.Range{Offset: first, Length: last - first + 1}, http.StatusPartialContent, nil
}

// parseRange reads "0-99", "100-" or "-20" (the last twenty) of size bytes.
func parseRange(spec string, size int64) (first, last int64, ok bool) {
	from, to, ok := strings.Cut(spec, "-")
	if !ok || strings.Contains(to, "-") || strings.Contains(spec, ",") {
		return 0, 0, false
	}
	if from == "" {
		n, err := strconv.ParseUint(to, 10, 62)
		if err != nil {
			return 0, 0, false
		}
		return max(0, size-int64(n)), size - 1, true
	}
	a, err := strconv.ParseUint(from, 10, 62)
	if err != nil {
		return 0, 0, false
	}
	if to == "" {
		return int64(a), size - 1, true
	}
	b, err := strconv.ParseUint(to, 10, 62)
	if err != nil || b < a {
		return 0, 0, false
	}
	return int64(a), min(int64(b), size-1), true
}

// send writes an answer with a streamed body (nil: none). The header goes out with the
// first byte, so that an error before it can still be told.
func (c *call) send(status int, head http.Header, body io.Reader) error {
	start := func() {
		for name, values := range head {
			c.w.Header()[name] = values
		}
		c.w.WriteHeader(status)
	}
	if body == nil {
		start()
		return nil
	}
	buffer := make([]byte, 256<<10)
	for {
		n, err := body.Read(buffer)
		if err := c.rights.still(); err != nil {
			return fmt.Errorf("send file: %w", err)
		}
		if n > 0 {
			if c.w.status == 0 {
				start()
			}
			if _, err := c.w.Write(buffer[:n]); err != nil {
				return fmt.Errorf("send file: %w", err)
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("send file: %w", err)
		}
	}
}
