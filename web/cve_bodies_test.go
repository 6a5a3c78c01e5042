package web_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
	"modelbucket/registry"
	"modelbucket/web"
)

// What is sent in bodies: types that would be executed, forms without end, archives, and
// texts that become lines of something else.

// takers are the routes that read a body.
func takers(body string) (shots []shot) {
	for _, at := range []string{
		"POST " + fraud + "/versions", "POST " + fraud + "/train", "POST " + fraud + "/detect", "POST " + fraud + "/versions/1/detect", "POST " + fraud + "/versions/1/copy", "POST " + fraud + "/versions/1/restore",
		"PATCH " + fraud, "PATCH " + fraud + "/versions/1", "PUT " + fraud + "/aliases/champion", "PUT /v1/tenants/acme", "POST /models/train", "POST /models/fraud/load", "POST /models/fraud/detect",
	} {
		method, path, _ := strings.Cut(at, " ")
		shots = append(shots, shot{method: method, path: path, body: body})
	}
	return shots
}

func bodyAttacks() []attack {
	return []attack{
		{"A17", "CVE-2024-6838 (MLflow)", "names without an end", func(x *target) {
			long := strings.Repeat("a", 8000)
			x.refused([]int{400, 404}, inPaths(long)...)
			x.refused([]int{400}, append(inQueries(long), inForms(long)...)...)
			x.refused([]int{400}, inJSON(strings.Repeat("a", 900_000))...)
			x.refused([]int{431}, shot{method: "GET", path: fraud + "/versions/" + strings.Repeat("a", 1<<20)}, shot{method: "GET", path: "/models?tenant_id=" + strings.Repeat("a", 1<<20)})
		}},
		{"A17", "CVE-2025-0453 (MLflow)", "many at once", func(x *target) {
			many := "[" + strings.Repeat(`{"packet_count":1},`, 100_000) + `{"packet_count":1}]`
			for _, s := range []shot{asJSON("POST", fraud+"/detect", many), asJSON("POST", "/models/fraud/detect?tenant_id=acme", many), {method: "GET", path: "/v1/models?limit=1000000"}, {method: "GET", path: fraud + "/versions?limit=1001"}} {
				if g := x.fire(s); g.status != 413 && g.status != 400 || len(g.body) > 1000 {
					x.t.Errorf("%s: status %d: %.300s", s, g.status, g.body)
				}
			}
			names := make([]string, 2000)
			for i := range names {
				names[i] = fmt.Sprintf(`"a%d"`, i)
			}
			list := "[" + strings.Join(names, ",") + "]"
			x.refused([]int{400},
				asJSON("PATCH", fraud, `{"tags":{`+strings.Join(names, `:"",`)+`:""}}`),
				asJSON("POST", fraud+"/versions/1/copy", `{"aliases":`+list+`}`),
				shot{"POST", fraud + "/versions", formOf(metadataPart(`{"aliases":`+list+`}`), filePart), []string{formBoundary}},
			)
		}},
		{"B1", "CVE-2024-2912, CVE-2025-27520 (BentoML)", "a pickle as the body of a request", func(x *target) {
			const pickle = "\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."
			for _, kind := range []string{
				"application/vnd.bentoml+pickle", "application/pickle", "application/x-pickle", "application/python-pickle", "application/x-python-serialize", "application/cloudpickle", "application/vnd.apache.arrow.stream",
				"application/x-msgpack", "application/x-yaml", "application/x-www-form-urlencoded", "application/xml", "text/plain", "application/json+pickle", "x/y; application/json", "application/json, application/pickle",
			} {
				shots := takers(pickle)
				for i := range shots {
					shots[i].headers = []string{"Content-Type: " + kind, "Payload-Container: NdarrayContainer", "Payload-Meta: {\"format\":\"pickle\"}"}
				}
				x.refused([]int{415}, shots...)
			}
		}},
		{"B2", "CVE-2024-9056 (BentoML)", "a boundary without an end", func(x *target) {
			for _, n := range []int{71, 1000, 12_000} {
				boundary := strings.Repeat("-", n)
				x.refused([]int{400}, shot{"POST", fraud + "/versions", "--" + boundary + "\r\n" + filePart + "\r\n--" + boundary + strings.Repeat("-", 1<<20), []string{"Content-Type: multipart/form-data; boundary=" + boundary}})
			}
			x.refused([]int{400},
				shot{"POST", fraud + "/versions", strings.Repeat("\r\n", 1<<20), []string{formBoundary}}, shot{"POST", fraud + "/versions", strings.Repeat("--b\r\n", 1<<18), []string{formBoundary}},
				shot{"POST", fraud + "/versions", strings.Repeat("--b", 1<<18), []string{formBoundary}}, shot{"POST", fraud + "/versions", strings.Repeat("-", 1<<20), []string{formBoundary}},
				shot{"POST", fraud + "/versions", formOf(filePart), []string{"Content-Type: multipart/form-data"}},
			)
			x.refused([]int{415}, shot{"POST", fraud + "/versions", formOf(filePart), []string{"Content-Type: multipart/form-data; boundary="}},
				shot{"POST", fraud + "/versions", formOf(filePart), []string{"Content-Type: multipart/form-data; boundary=b; boundary=c"}}, shot{"POST", fraud + "/versions", formOf(filePart), []string{"Content-Type: multipart/mixed; boundary=b"}})
		}},
		{"B3", "CVE-2025-54381 (BentoML)", "a file that is fetched from an address", func(x *target) {
			url, calls := x.bait()
			x.refused([]int{400},
				shot{"POST", fraud + "/versions", formOf("Content-Disposition: form-data; name=\"file\"\r\n\r\n" + url), []string{formBoundary}},
				shot{"POST", fraud + "/versions", formOf("Content-Disposition: form-data; name=\"file\"; filename=\"" + url + "\"\r\n\r\n" + url), []string{formBoundary}},
				shot{"POST", fraud + "/versions?filename=" + url, url, nil},
			)
			g := x.fire(shot{"POST", "/v1/tenants/acme/models/address/versions", formOf("Content-Disposition: form-data; name=\"file\"; filename=\"m\"\r\nContent-Location: " + url + "\r\n\r\n" + url), []string{formBoundary}})
			if file := x.fire(shot{method: "GET", path: "/v1/tenants/acme/models/address/versions/1/files/m"}); g.status != 201 || file.body != url {
				x.t.Errorf("status %d, and the file is %q", g.status, file.body)
			}
			if n := calls(); n != 0 {
				x.t.Errorf("it called %d times", n)
			}
		}},
		{"B4", "CVE-2026-27905 (BentoML)", "an archive that writes through a link", func(x *target) {
			folder := x.t.TempDir()
			outside := filepath.Join(folder, "outside")
			if err := os.Mkdir(outside, 0o700); err != nil {
				x.t.Fatal(err)
			}
			bucket, err := blob.Open(x.t.Context(), "dir:"+filepath.Join(folder, "store"), blob.Options{})
			if err != nil {
				x.t.Fatal(err)
			}
			r, err := registry.Open(x.t.Context(), bucket, registry.Options{})
			if err != nil {
				x.t.Fatal(err)
			}
			defer r.Close(x.t.Context())
			x = newTargetWith(x.t, func(o *web.Options) { o.Registry, o.Insecure = r, true })
			archive := tarWithLink(outside)
			for i, name := range []string{"model.tar", "model.tar.gz", "model.joblib", "model.zip"} {
				if g := x.fire(shot{method: "POST", path: "/v1/tenants/acme/models/tar/versions?filename=" + name, body: archive}); g.status != 201 || !strings.Contains(g.body, `"detector":null`) {
					x.t.Errorf("%s: %d %s", name, g.status, g.body)
				}
				if g := x.fire(shot{method: "GET", path: fmt.Sprintf("/v1/tenants/acme/models/tar/versions/%d/files/%s", i+1, name)}); g.body != archive {
					x.t.Errorf("%s comes back as another", name)
				}
			}
			files := 0
			err = filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
				if d.Type()&os.ModeSymlink != 0 || strings.Contains(path, "evil") {
					x.t.Errorf("%s is there", path)
				}
				files++
				return err
			})
			if left, readErr := os.ReadDir(outside); err != nil || readErr != nil || len(left) > 0 || files < 10 {
				x.t.Errorf("of %d files some lie outside: %v, %v, %v", files, left, err, readErr)
			}
		}},
		{"B5", "CVE-2026-44345 (BentoML), CVE-2026-39414 (MinIO)", "line ends in values", func(x *target) {
			const evil = "a\r\nX-Evil: 1\r\n\r\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\nmodelbucket_forged 1\n\x1b[31m"
			quoted := toJSON(x.t, evil)
			for _, s := range []shot{
				asJSON("PATCH", fraud, `{"description":`+quoted+`,"tags":{"a":`+quoted+`}}`), asJSON("PUT", fraud+"/aliases/champion", `{"version":1,"note":`+quoted+`}`),
				{method: "DELETE", path: "/v1/tenants/acme/models/other?reason=" + escaped(evil)}, {"POST", fraud + "/versions", formOf(metadataPart(`{"description":`+quoted+`,"user_metadata":{"a":`+quoted+`}}`), filePart), []string{formBoundary}},
				asJSON("POST", fraud+"/detect", `[{`+quoted+`:`+quoted+`}]`), {"GET", fraud, "", []string{"User-Agent: \x1b[31m", "X-Request-Id: \x1b[31mforged"}}, {method: "GET", path: "/" + escaped(evil)},
				{"POST", fraud + "/versions", "content", []string{"Idempotency-Key: \x1b[31mforged"}}, {method: "GET", path: fraud + "?" + escaped(evil) + "=1"},
			} {
				g := x.fire(s)
				if g.header.Get("X-Evil") != "" || strings.ContainsAny(g.body, "\x1b\r") || strings.Count(g.body, "\n") > 1 {
					x.t.Errorf("%s: answered with %v %q", s, g.header, g.body)
				}
			}
			for line := range strings.Lines(x.log.String()) {
				if strings.ContainsAny(line, "\x1b\r") || strings.HasPrefix(line, `{"level":"ERROR","msg":"forged"`) || !strings.HasPrefix(line, `{"time":"`) {
					x.t.Errorf("the log has the line %q", line)
				}
			}
			if g := x.fire(shot{method: "GET", path: "/metrics"}); strings.Contains(g.body, "forged") {
				x.t.Errorf("the metrics are %s", g.body)
			}
		}},
		{"C2", "CVE-2025-23319, CVE-2025-23320, CVE-2025-23334 (Triton)", "inner names in errors", func(x *target) {
			const secret = "http://10.9.8.7:9000/inner-bucket/acme"
			for _, cause := range []error{errors.New("surprise"), blob.ErrUnavailable, blob.ErrDenied, blob.ErrNoBucket, blob.ErrFull, blob.ErrInvalidKey, io.ErrUnexpectedEOF} {
				x.breakStore(fmt.Errorf("get %s: %w", secret, cause))
				for _, route := range web.Routes() {
					path := strings.NewReplacer("{tenant}", "acme", "{model}", "other", "{ref}", "1", "{alias}", "champion", "{name...}", "m").Replace(route.Pattern)
					for _, body := range []string{"", `{}`, `{"version":1,"network_data":[{"packet_count":1},{"packet_count":2}]}`} {
						g := x.fire(asJSON(route.Method, path, body))
						if g.status < 400 {
							continue
						}
						for _, inner := range []string{"10.9.8.7", "inner-bucket", "surprise", ".go:", "registry.", "web.", "blob.", "goroutine", "0xc0", "_versions", "_model.json", "_tenant.json", "/work", "%!"} {
							if strings.Contains(g.body, inner) {
								x.t.Errorf("%s: the answer has %q: %s", g.shot, inner, g.body)
							}
						}
					}
				}
			}
			x.breakStore(nil)
			x.unharmed()
		}},
		{"C6", "CVE-2023-43654, CVE-2024-35199, CVE-2024-35198 (TorchServe)", "a model that is registered by its address", func(x *target) {
			url, calls := x.bait()
			var shots []shot
			for _, at := range []string{"POST /models", "POST /models/train", "PUT /models/fraud", "POST " + fraud + "/versions", "POST /models/fraud/load", "POST " + fraud + "/train"} {
				method, path, _ := strings.Cut(at, " ")
				for _, query := range []string{"url=" + url, "model_name=x&url=" + url, "url=file:///../../x", "workflow_url=" + url, "url=https://s3.amazonaws.com/../" + url} {
					shots = append(shots, asJSON(method, path+"?"+query, "{}"))
				}
			}
			x.refused([]int{400, 405, 415}, shots...)
			if n := calls(); n != 0 {
				x.t.Errorf("it called %d times", n)
			}
		}},
		{"E6", "CVE-2026-34204 (MinIO)", "metadata by headers", func(x *target) {
			evil := []string{
				"X-Amz-Meta-Evil: 1", "X-Amz-Copy-Source: /bolt/" + canary, "X-Amz-Server-Side-Encryption: none", "X-Amz-Acl: public-read", "X-Amz-Storage-Class: x", "X-Minio-Source-Etag: x",
				"X-Minio-Replication-Server-Side-Encryption-Sealed-Key: x", "X-Amz-Tagging: a=b", "X-Amz-Object-Lock-Mode: GOVERNANCE", "Cache-Control: public", "Content-Language: x", "Expires: 0",
			}
			if g := x.fire(shot{"POST", "/v1/tenants/acme/models/headers/versions?filename=f", "content", evil}); g.status != 201 || strings.Contains(g.body, "Evil") {
				x.t.Errorf("%d %s", g.status, g.body)
			}
			g := x.fire(shot{"GET", "/v1/tenants/acme/models/headers/versions/1/files/f", "", evil})
			if g.body != "content" || g.header.Get("X-Amz-Meta-Evil") != "" || g.header.Get("Cache-Control") == "public" || g.header.Get("Content-Language") != "" {
				x.t.Errorf("%v %s", g.header, g.body)
			}
		}},
		{"E6", "CVE-2026-39414 (MinIO)", "a field of a table without an end", func(x *target) {
			for _, body := range []string{"packet_count\n\"" + strings.Repeat("x", 2<<20), "packet_count\n" + strings.Repeat("1", 2<<20), strings.Repeat("a,", 1<<20), "a,b\n" + strings.Repeat(",", 1<<20), strings.Repeat("\n", 4<<20) + "\""} {
				if g := x.fire(shot{"POST", fraud + "/detect", body, []string{"Content-Type: text/csv"}}); g.status != 413 && g.status != 400 {
					x.t.Errorf("%.20q: %d %.300s", body, g.status, g.body)
				}
			}
			x.unharmed()
		}},
		{"F3", "CVE-2022-41725, CVE-2023-24536, CVE-2023-45290, CVE-2023-24534 (Go)", "forms and headers that fill the memory", func(x *target) {
			part := func(i int) string {
				return fmt.Sprintf("Content-Disposition: form-data; name=\"%d\"\r\n\r\n", i)
			}
			parts := make([]string, 10_000)
			for i := range parts {
				parts[i] = part(i)
			}
			heads := strings.Repeat("X-A: "+strings.Repeat("y", 1000)+"\r\n", 1000)
			lines := strings.Repeat("X: y\r\n", 100_000)
			var shots []shot
			for _, form := range []string{
				formOf(parts...), formOf(strings.Repeat("X", 1<<20) + ": y\r\n\r\nx"), formOf("X: " + strings.Repeat("y", 1<<20) + "\r\n\r\nx"), formOf(heads + "\r\nx"), formOf(lines + "\r\nx"),
				formOf("Content-Disposition: form-data; name=\"" + strings.Repeat("n", 1<<20) + "\"\r\n\r\nx"), formOf("Content-Disposition: form-data" + strings.Repeat("; a=b", 1<<17) + "\r\n\r\nx"),
			} {
				shots = append(shots, shot{"POST", fraud + "/versions", form, []string{formBoundary}})
			}
			x.refused([]int{400}, shots...)
			if diff := cmp.Diff(x.before, x.objects()); diff != "" {
				x.t.Error(diff)
			}
		}},
	}
}

// tarWithLink is an archive of a symbolic link and a file that lies behind it.
func tarWithLink(to string) string {
	header := func(name, link string, kind byte, size int) string {
		h := make([]byte, 512)
		copy(h, name)
		copy(h[100:], "0000777\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x0000000000000\x00        ", size))
		h[156] = kind
		copy(h[157:], link)
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, b := range h {
			sum += int(b)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		return string(h)
	}
	content := make([]byte, 512)
	copy(content, "evil")
	return header("link", to, '2', 0) + header("link/evil", "", '0', 4) + string(content) + header("../../evil", "", '0', 4) + string(content) + string(make([]byte, 1024))
}
