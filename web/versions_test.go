package web_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/registry"
)

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// form makes a form of a metadata part ("": none) and files given in pairs.
func form(t *testing.T, metadata string, files ...string) (body *bytes.Buffer, contentType string) {
	t.Helper()
	body = new(bytes.Buffer)
	w := multipart.NewWriter(body)
	if metadata != "" {
		part, err := w.CreatePart(map[string][]string{"Content-Disposition": {`form-data; name="metadata"`}})
		if err != nil {
			t.Fatal(err)
		}
		part.Write([]byte(metadata))
	}
	for i := 0; i < len(files); i += 2 {
		part, err := w.CreateFormFile("file", files[i])
		if err != nil {
			t.Fatal(err)
		}
		part.Write([]byte(files[i+1]))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return body, w.FormDataContentType()
}

func TestPublishRawAndRead(t *testing.T) {
	n := serve(t, nil)
	sum := sha256.Sum256([]byte("bytes of a model"))
	answer := n.do("POST", "/v1/tenants/acme/models/fraud/versions?filename=model.bin&label=v1.0&alias=champion&description=first",
		strings.NewReader("bytes of a model"), "Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
	var v registry.Version
	answer.must(t, http.StatusCreated, &v)
	if got, want := answer.Header.Get("Location"), "/v1/tenants/acme/models/fraud/versions/1"; got != want {
		t.Errorf("Location is %q, want %q", got, want)
	}
	want := []registry.File{{Name: "model.bin", Size: 16, SHA256: hexSum("bytes of a model")}}
	if diff := cmp.Diff(want, v.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if v.Version != 1 || *v.Label != "v1.0" || v.CreatedBy != "root" || v.Description != "first" || len(v.Aliases) != 1 {
		t.Errorf("version is %+v", v)
	}
	for _, ref := range []string{"1", "v1.0", "latest", "@champion", "%40champion"} {
		base := "/v1/tenants/acme/models/fraud/versions/" + ref
		var again registry.Version
		n.get(base).must(t, http.StatusOK, &again)
		if again.ID != v.ID {
			t.Errorf("%s is %s, want %s", ref, again.ID, v.ID)
		}
		file := n.get(base+"/files/model.bin").must(t, http.StatusOK, nil)
		if string(file.body) != "bytes of a model" {
			t.Errorf("%s: file is %q", ref, file.body)
		}
		if got := file.Header.Get("Modelbucket-Version"); got != "1" {
			t.Errorf("%s: Modelbucket-Version is %q", ref, got)
		}
	}
}

func TestPublishForm(t *testing.T) {
	n := serve(t, nil)
	metadata := fmt.Sprintf(`{"label":"v2","tags":{"team":"net"},"user_metadata":{"accuracy":0.95},"sha256":{"a file.txt":%q}}`, hexSum("one"))
	body, kind := form(t, metadata, "a file.txt", "one", "data/two.bin", "")
	var v registry.Version
	n.do("POST", "/v1/tenants/acme/models/fraud/versions", body, "Content-Type", kind).must(t, http.StatusCreated, &v)
	want := []registry.File{
		{Name: "a file.txt", Size: 3, SHA256: hexSum("one")},
		{Name: "data/two.bin", Size: 0, SHA256: hexSum("")},
	}
	if diff := cmp.Diff(want, v.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if string(v.UserMetadata) != `{"accuracy":0.95}` || v.Tags["team"] != "net" {
		t.Errorf("metadata is %s, tags %v", v.UserMetadata, v.Tags)
	}
	for path, content := range map[string]string{"a%20file.txt": "one", "data/two.bin": ""} {
		file := n.get("/v1/tenants/acme/models/fraud/versions/v2/files/"+path).must(t, http.StatusOK, nil)
		if string(file.body) != content {
			t.Errorf("%s is %q, want %q", path, file.body, content)
		}
	}
}
