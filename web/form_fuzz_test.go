package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
	"modelbucket/web"
)

// FuzzForm sends bodies that are to be forms. What is in order becomes a version with the
// bytes of its parts and no others; all else is the caller's mistake, and saves nothing.
func FuzzForm(f *testing.F) {
	file := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\nbytes\r\n"
	for _, form := range []string{
		file + "--b--\r\n",
		"--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\nContent-Type: application/json\r\n\r\n{\"label\":\"one\"}\r\n" + file + "--b--",
		file + strings.Replace(file, "a.bin", "dir/b.bin", 1) + "--b--\r\n",
		file, "--b--", "", "--b\r\n\r\n", file + file + "--b--", strings.Replace(file, "a.bin", "../x", 1) + "--b--",
		strings.Replace(file, "\r\n\r\n", "\r\nContent-Length: 99\r\n\r\n", 1) + "--b--", file + "--b--\r\n" + file,
	} {
		f.Add([]byte(form))
	}
	f.Fuzz(func(t *testing.T, form []byte) {
		r, err := registry.Open(t.Context(), blob.NewMemory(), registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := web.New(web.Options{Registry: r, Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			s.Close()
			if err := r.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		request := httptest.NewRequest("POST", "http://localhost/v1/tenants/acme/models/fraud/versions", bytes.NewReader(form))
		request.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, request)
		page, listErr := r.Versions(t.Context(), "acme", "fraud", registry.VersionQuery{})
		if w.Code != http.StatusCreated {
			if w.Code < 400 || w.Code >= 500 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if listErr == nil && len(page.Versions) > 0 {
				t.Errorf("%d %s, and saved", w.Code, w.Body)
			}
			return
		}
		var v registry.Version
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		for _, file := range v.Files {
			get := httptest.NewRecorder()
			s.ServeHTTP(get, httptest.NewRequest("GET", "http://localhost/v1/tenants/acme/models/fraud/versions/1/files/"+string(file.Name), nil))
			if get.Code != http.StatusOK || !bytes.Contains(form, get.Body.Bytes()) || int64(get.Body.Len()) != file.Size {
				t.Errorf("%s: %d, %q", file.Name, get.Code, get.Body)
			}
		}
	})
}
