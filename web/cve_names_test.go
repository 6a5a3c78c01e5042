package web_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"modelbucket/registry"
	"modelbucket/web"
)

// What leads elsewhere, wherever a name is taken: in paths, queries, JSON and forms, of
// our dialect and of SecureNet's.

// misnomers are names that led elsewhere, as they are before any escaping.
var misnomers = []struct {
	row, cve, how string
	names         []string
}{
	{"A1", "CVE-2023-1177, CVE-2023-1176 (MLflow)", "a local path", []string{"/etc/passwd", "file:///etc/passwd", "///etc/passwd", "file:/etc", "/"}},
	{"A2", "CVE-2023-2356 (MLflow)", "a relative path", []string{"../../etc/passwd", "..", "../", "./x", "x/../../y", "s3://b/../../x", "../" + canary, "../../bolt/" + canary}},
	{"A3", "CVE-2023-2780, CVE-2023-6909 (MLflow)", "backslashes", []string{`..\..\x`, `\..\`, `\\host\share`, `a\b`, `..\/..\/x`}},
	{"A6", "CVE-2024-1593 (MLflow)", "a path behind a semicolon", []string{"m;/../../x", "m;x=1", "..;/x", ";"}},
	{"A7", "CVE-2024-1483, CVE-2024-1558, CVE-2024-1594, CVE-2024-2928, CVE-2024-3848 (MLflow)", "a path behind # or ?", []string{"#/../..", "x#/../../y", "?/../..", "x?/../y", "x#"}},
	{"A8", "CVE-2024-3573 (MLflow)", "schemes", []string{"file:x", "FILE:///etc/passwd", "//host/x", "local:x", "s3:x", "http:x", ":x"}},
	{"A9", "CVE-2024-3099 (MLflow)", "a name that decodes to another's", []string{"m%64el", "%6dodel", "fr%61ud", "%66raud", "fraud%00", "fraud%20"}},
	{"A12", "CVE-2024-8859 (MLflow)", "dbfs and queries", []string{"dbfs:/x", "dbfs:../../x", "dbfs:/../etc", "dbfs:x?y=/../z"}},
	{"A5", "CVE-2023-6831, CVE-2024-1560 (MLflow)", "escapes of escapes", []string{"%2e%2e%2f", "%252e%252e%252f", "%25252e%25252e%25252f", "..%2f..%2fx", "..%5c", "%c0%ae%c0%ae/", "\xc0\xae\xc0\xae", "\u2025", "\uff0e\uff0e\uff0fx", "\u2024\u2024\u2215"}},
	{"B5", "CVE-2026-44345 (BentoML)", "line ends and what terminals obey", []string{"a\nb", "a\r\nX-Evil: 1", "a\x00b", "a\tb", "\x1b[31m", "a\u2028b", "a\u202eb", "a\x7f"}},
	{"F8", "CVE-2023-45283, CVE-2022-29804 (Go)", "paths of Windows", []string{`\??\C:\x`, `C:\x`, "C:x", "c:", "NUL:", `\\.\pipe\x`, "x::$DATA"}},
}

// honestNames stand where nothing hostile does.
var honestNames = map[string]string{"tenant": "acme", "model": "fraud", "ref": "1", "alias": "champion", "name...": "model.joblib"}

// escaped writes every byte of s that is no letter or digit as an escape.
func escaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// inPaths puts a name in the place of each name of each route: as it is, where a request
// line can have it, and escaped once, twice and three times.
func inPaths(name string) (shots []shot) {
	once := escaped(name)
	forms := []string{once, strings.ReplaceAll(once, "%", "%25"), strings.ReplaceAll(once, "%", "%2525")}
	if !strings.ContainsAny(name, "%? \x00\r\n\t\x1b\x7f") {
		forms = append(forms, name)
	}
	for _, route := range web.Routes() {
		for parameter := range honestNames {
			if !strings.Contains(route.Pattern, "{"+parameter+"}") {
				continue
			}
			for _, form := range forms {
				path := route.Pattern
				for other, honest := range honestNames {
					if other == parameter {
						honest = form
					}
					path = strings.ReplaceAll(path, "{"+other+"}", honest)
				}
				shots = append(shots, shot{method: route.Method, path: path})
			}
		}
	}
	return shots
}

const someEvents = `[{"packet_count":1},{"packet_count":2},{"packet_count":3}]`

// inQueries puts a name into each parameter that takes one.
func inQueries(name string) (shots []shot) {
	with := func(method, path, parameter, body string, headers ...string) {
		if parameter == "filename" {
			if _, err := registry.ParseFileName(name); err == nil {
				return // a file may be called so
			}
		}
		shots = append(shots, shot{method, path + "?" + parameter + "=" + url.QueryEscape(name), body, headers})
	}
	for _, parameter := range []string{"filename", "label", "alias"} {
		with("POST", fraud+"/versions", parameter, "content")
	}
	for _, parameter := range []string{"label", "alias"} {
		with("POST", fraud+"/train", parameter, "packet_count\n1\n2\n", "Content-Type: text/csv")
	}
	with("GET", "/v1/tenants", "after", "")
	with("GET", "/v1/models", "tenant", "")
	with("GET", "/v1/models", "after", "")
	with("GET", "/v1/tenants/acme/models", "after", "")
	with("GET", fraud+"/versions", "before", "")
	with("DELETE", fraud+"/aliases/champion", "expect", "")
	with("GET", "/models", "tenant_id", "")
	for _, parameter := range []string{"tenant_id", "version"} {
		with("GET", "/models/fraud/info", parameter, "")
		with("DELETE", "/models/fraud", parameter, "")
		with("POST", "/models/fraud/load", parameter, "")
		with("POST", "/models/fraud/detect", parameter, someEvents, "Content-Type: application/json")
		with("POST", "/models/train", parameter, `{"network_data":`+someEvents+`}`, "Content-Type: application/json")
	}
	return shots
}

// inJSON puts a name into each field that takes one.
func inJSON(name string) (shots []shot) {
	quoted, err := json.Marshal(name)
	if err != nil {
		panic(err) // a string always has a form in JSON
	}
	with := func(method, path, format string) {
		shots = append(shots, asJSON(method, path, fmt.Sprintf(format, quoted)))
	}
	for _, field := range []string{`{"tenant":%s}`, `{"model":%s}`, `{"label":%s}`, `{"aliases":[%s]}`} {
		with("POST", fraud+"/versions/1/copy", field)
	}
	for _, field := range []string{`{"label":%s}`, `{"aliases":[%s]}`} {
		with("POST", fraud+"/versions/1/restore", field)
	}
	for _, field := range []string{`{"network_data":` + someEvents + `,"label":%s}`, `{"label":%s,"network_data":` + someEvents + `}`, `{"network_data":` + someEvents + `,"aliases":[%s]}`} {
		with("POST", fraud+"/train", field)
	}
	for _, field := range []string{"tenant_id", "version"} {
		with("POST", "/models/fraud/load", `{"`+field+`":%s}`)
		with("POST", "/models/train", `{"network_data":`+someEvents+`,"`+field+`":%s}`)
		with("POST", "/models/fraud/detect", `{"network_data":`+someEvents+`,"`+field+`":%s}`)
	}
	return shots
}

const formBoundary = "Content-Type: multipart/form-data; boundary=b"

// formOf is a form of parts, each with its header lines.
func formOf(parts ...string) string {
	return "--b\r\n" + strings.Join(parts, "\r\n--b\r\n") + "\r\n--b--\r\n"
}

func metadataPart(body string) string {
	return "Content-Disposition: form-data; name=\"metadata\"\r\n\r\n" + body
}

const filePart = "Content-Disposition: form-data; name=\"file\"; filename=\"m\"\r\n\r\ncontent"

// inForms puts a name into each place of a form that takes one.
func inForms(name string) (shots []shot) {
	quoted, err := json.Marshal(name)
	if err != nil {
		panic(err)
	}
	send := func(parts ...string) {
		shots = append(shots, shot{"POST", fraud + "/versions", formOf(parts...), []string{formBoundary}})
	}
	for _, field := range []string{`{"label":%s}`, `{"aliases":[%s]}`} {
		send(metadataPart(fmt.Sprintf(field, quoted)), filePart)
	}
	if _, err := registry.ParseFileName(name); err != nil {
		send(metadataPart(fmt.Sprintf(`{"sha256":{%s:"%064d"}}`, quoted, 0)), filePart)
		send("Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''" + escaped(name) + "\r\n\r\ncontent")
		if !strings.ContainsAny(name, "\r\n\x00") {
			send(`Content-Disposition: form-data; name="file"; filename="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + "\"\r\n\r\ncontent")
		}
	}
	return shots
}

func nameAttacks() (all []attack) {
	surfaces := []struct {
		name     string
		shots    func(string) []shot
		statuses []int
	}{
		{"in paths", inPaths, []int{400, 404, 405}},
		{"in queries", inQueries, []int{400}},
		{"in JSON", inJSON, []int{400}},
		{"in forms", inForms, []int{400}},
	}
	for _, m := range misnomers {
		for _, s := range surfaces {
			all = append(all, attack{m.row, m.cve, m.how + " " + s.name, func(x *target) {
				var shots []shot
				for _, name := range m.names {
					shots = append(shots, s.shots(name)...)
				}
				x.refused(s.statuses, shots...)
			}})
		}
	}
	return append(all,
		attack{"A4", "CVE-2023-30172 (MLflow)", "a file by a parameter of its own", func(x *target) {
			var shots []shot
			for _, parameter := range []string{"path", "artifact_path", "run_uuid", "file", "filename", "name", "dir"} {
				for _, value := range []string{"../../x", "/etc/passwd", "..%2f..%2fbolt", "model.joblib"} {
					shots = append(shots, shot{method: "GET", path: fraud + "/versions/1/files/model.joblib?" + parameter + "=" + value})
				}
			}
			x.refused([]int{400}, shots...)
		}},
		attack{"A9", "CVE-2024-3099 (MLflow)", "two spellings of one name", func(x *target) {
			for i, spelling := range []string{"notes", "%6eotes", "n%6Ftes", "%6E%6F%74%65%73"} {
				g := x.fire(shot{method: "POST", path: "/v1/tenants/acme/models/" + spelling + "/versions?filename=f", body: "content"})
				if want := fmt.Sprintf(`"version":%d,`, i+1); g.status != 201 || !strings.Contains(g.body, want) {
					x.t.Errorf("%s: status %d, want %s: %s", g.shot, g.status, want, g.body)
				}
			}
			if g := x.fire(shot{method: "GET", path: "/v1/tenants/acme/models"}); strings.Count(g.body, `"model":`) != 2 {
				x.t.Errorf("there are other models than fraud and notes: %s", g.body)
			}
		}},
		attack{"A10", "CVE-2023-6018, CVE-2023-6975, CVE-2023-6015, CVE-2025-11201, CVE-2026-2614 (MLflow)", "a source that the server shall fetch", func(x *target) {
			url, calls := x.bait()
			var shots []shot
			for _, field := range []string{"source", "url", "uri", "model_uri", "artifact_location", "run_link", "storage_uri", "from"} {
				document := fmt.Sprintf(`{%q:%q}`, field, url)
				shots = append(shots,
					shot{method: "POST", path: fraud + "/versions?" + field + "=" + url, body: "content"},
					shot{"POST", fraud + "/versions", formOf(metadataPart(document), filePart), []string{formBoundary}},
					asJSON("POST", fraud+"/versions/1/copy", document), asJSON("POST", fraud+"/versions/1/restore", document),
					asJSON("PATCH", fraud, document), asJSON("PATCH", fraud+"/versions/1", document), asJSON("PUT", "/v1/tenants/acme", document),
					asJSON("PUT", fraud+"/aliases/champion", document), asJSON("POST", "/models/fraud/load", document),
					asJSON("POST", fraud+"/train", `{"network_data":`+someEvents+`,`+document[1:]), asJSON("POST", "/models/train", `{"network_data":`+someEvents+`,`+document[1:]),
				)
			}
			for _, scheme := range []string{url, "ftp://" + url[7:], "s3://bucket/x", "gs://b/x", "hdfs:/x", "mlflow-artifacts:/x"} {
				shots = append(shots, append(inQueries(scheme), inJSON(scheme)...)...)
			}
			x.refused([]int{400}, shots...)
			if n := calls(); n != 0 {
				x.t.Errorf("it called %d times", n)
			}
		}},
		attack{"A11", "CVE-2024-0520 (MLflow)", "the file name of an upload", func(x *target) {
			var shots []shot
			for _, disposition := range []string{
				`form-data; name="file"; filename="../../x"`, `form-data; name="file"; filename="/etc/cron.d/x"`, `form-data; name="file"; filename="..\\..\\x"`,
				`form-data; name="file"; filename=..`, `form-data; name="file"; filename="x/../../y"`, `form-data; name="file"; filename="C:\\x"`,
				`form-data; name="file"; filename*=UTF-8''..%2f..%2fx`, `form-data; name="file"; filename*=utf-8'en'%2e%2e%2fx`, `form-data; name="file"; filename*0="../"; filename*1="x"`,
				`form-data; name="file"; filename="metadata.json"`, `form-data; name="file"; filename="a//b"`, `form-data; name="file"; filename="a/"`,
				`attachment; filename="x"`, `form-data; name="file"; filename="x"; filename="../x"`, `form-data; name="../../x"`,
			} {
				shots = append(shots, shot{"POST", fraud + "/versions", formOf("Content-Disposition: " + disposition + "\r\n\r\ncontent"), []string{formBoundary}})
			}
			for _, header := range []string{`attachment; filename="../../x"`, `attachment; filename*=UTF-8''..%2fx`} { // of a raw body it says nothing
				g := x.fire(shot{"POST", "/v1/tenants/acme/models/raw/versions", "content", []string{"Content-Disposition: " + header}})
				if g.status != 201 || !strings.Contains(g.body, `"name":"model.joblib"`) {
					x.t.Errorf("%s: status %d: %s", header, g.status, g.body)
				}
			}
			x.settle()
			x.refused([]int{400}, shots...)
		}},
	)
}
