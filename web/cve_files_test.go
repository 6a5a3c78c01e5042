package web_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// What files say that are loaded elsewhere by executing them.

const hostileFolder = "../detector/joblib/testdata/hostile"

// hostileFiles are those of the hostile files whose names match.
func (x *target) hostileFiles(names string) map[string]string {
	x.t.Helper()
	var list []struct{ File string }
	text, err := os.ReadFile(filepath.Join(hostileFolder, "MANIFEST.json"))
	if err != nil {
		x.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &list); err != nil {
		x.t.Fatal(err)
	}
	found := map[string]string{}
	for _, f := range list {
		name := strings.TrimSuffix(f.File, ".joblib")
		if !regexp.MustCompile("^(" + names + ")$").MatchString(name) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(hostileFolder, f.File))
		if err != nil {
			x.t.Fatal(err)
		}
		found[name] = string(content)
	}
	return found
}

// inert publishes files, under several names. Each is kept as it is, nobody takes it for a
// detector, and where the caller says that it is one it is refused.
func (x *target) inert(files map[string]string) {
	x.t.Helper()
	if len(files) == 0 {
		x.t.Fatal("no files")
	}
	home, err := os.Getwd()
	if err != nil {
		x.t.Fatal(err)
	}
	before, err := os.ReadDir(home)
	if err != nil {
		x.t.Fatal(err)
	}
	n := 0
	for name, content := range files {
		for _, filename := range []string{"model.joblib", "model.pkl", "model.skops", "model.json"} {
			if content == "" {
				continue // an empty upload is refused as such
			}
			path := "/v1/tenants/acme/models/hostile/versions"
			g := x.fire(shot{method: "POST", path: path + "?filename=" + filename, body: content})
			n++
			if g.status != 201 || !strings.Contains(g.body, `"detector":null`) {
				x.t.Fatalf("%s as %s: status %d: %.300s", name, filename, g.status, g.body)
			}
			if g := x.fire(shot{method: "GET", path: fmt.Sprintf("%s/%d/files/%s", path, n, filename)}); g.body != content {
				x.t.Errorf("%s: comes back as another", name)
			}
			for _, s := range []shot{
				{method: "POST", path: fmt.Sprintf("%s/%d/load", path, n)}, asJSON("POST", fmt.Sprintf("%s/%d/detect", path, n), someEvents),
				asJSON("POST", "/models/hostile/load", fmt.Sprintf(`{"tenant_id":"acme","version":"%d"}`, n)), asJSON("POST", "/models/hostile/detect", fmt.Sprintf(`{"tenant_id":"acme","version":"%d","network_data":%s}`, n, someEvents)),
			} {
				if g := x.fire(s); g.status != 422 {
					x.t.Errorf("%s: %s: status %d: %.300s", name, s, g.status, g.body)
				}
			}
		}
		g := x.fire(shot{method: "POST", path: fraud + "/versions?features=packet_count", body: content})
		if g.status != 400 || len(g.body) > 4096 {
			x.t.Errorf("%s: as a detector: status %d: %.300s", name, g.status, g.body)
		}
	}
	after, err := os.ReadDir(home)
	if err != nil || !slices.EqualFunc(before, after, func(a, b os.DirEntry) bool { return a.Name() == b.Name() }) {
		x.t.Errorf("files came into being: %v, %v", after, err)
	}
}

func fileAttacks() []attack {
	corpus := func(row, cve, how, names string) attack {
		return attack{row, cve, how, func(x *target) { x.inert(x.hostileFiles(names)) }}
	}
	return []attack{
		corpus("A19", "CVE-2024-37052 to CVE-2024-37060 (MLflow)", "models that execute something", "exec-.*"),
		corpus("D1", "CVE-2022-21797 (joblib)", "a text that is evaluated", "exec-eval|exec-import|offset-text|steps-text|dtype-text"),
		corpus("D2", "CVE-2020-13092 (scikit-learn)", "a state that calls", "reduce-instance|newobj-.*|reconstruct.*|slot-state|build-on-class|setitem-on-instance"),
		corpus("D2", "CVE-2020-28975 (scikit-learn)", "counts and places that are believed", "tree-.*|shape-.*|subset-outside|max-samples-zero|width-mismatch"),
		corpus("D3", "CVE-2024-37065, CVE-2025-54886 (skops)", "a checker that reads otherwise than the loader", "frame-.*|padding-.*|trailing-pickle|second-.*|double-gzip|near-name-space|public-alias|dotted-name"),
		{"D3", "CVE-2025-54886 (skops)", "a container of another kind than its name", func(x *target) {
			pickle := x.hostileFiles("exec-root")["exec-root"]
			x.inert(map[string]string{
				"zip": "PK\x03\x04\x14\x00\x00\x00\x00\x00" + pickle, "zip within": pickle + "PK\x05\x06" + strings.Repeat("\x00", 18), "a page": "<html>" + pickle, "JSON": `{"__class__":"posix.system"}`, "npy": "\x93NUMPY\x01\x00" + pickle, "onnx": "\x08\x07\x12\x07" + pickle,
			})
		}},
		corpus("D4", "CVE-2025-1716, CVE-2025-1889 (picklescan)", "callables that no list of bad ones has", "exec-memo-name|exec-in-parameter|exec-in-object-array|exec-after-pop|inst-opcode"),
		corpus("D4", "CVE-2025-1944, CVE-2025-1945 (picklescan)", "containers that a scanner gives up", "exec-xz|crc-gzip|truncated-.*|bomb-bz2|empty"),
		corpus("D4", "CVE-2025-10155, CVE-2025-10156, CVE-2025-10157 (picklescan)", "extensions and opcodes that are passed over", "ext4|binpersid|readonly-buffer|unknown-opcode|memo-.*|two-left"),
		{"F2", "CVE-2022-30631, CVE-2022-30633 (Go)", "a million members of nothing", func(x *target) {
			var member bytes.Buffer
			if err := gzip.NewWriter(&member).Close(); err != nil {
				x.t.Fatal(err)
			}
			many := string(bytes.Repeat(member.Bytes(), 300_000)) // as many as an upload may have here
			if g := x.fire(shot{method: "POST", path: fraud + "/versions?features=packet_count", body: many}); g.status != 400 {
				x.t.Errorf("%d %.300s", g.status, g.body)
			}
			x.unharmed()
		}},
		{"C1", "CVE-2025-23310, CVE-2025-23311 (Triton)", "a body of tiny chunks", func(x *target) {
			chunks := strings.Repeat("1\r\nx\r\n", 1_100_000)
			for _, at := range []string{fraud + "/detect", "/models/fraud/detect", fraud + "/train", "/models/train", fraud + "/versions/1/detect"} {
				text := x.converse("POST " + at + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n" + bearer(token) + "\r\n\r\n3\r\n[{\"\r\n" + chunks + "0\r\n\r\n")
				if !strings.HasPrefix(text, "HTTP/1.1 413 ") {
					x.t.Errorf("%s: %.300s", at, text)
				}
			}
			x.unharmed()
		}},
	}
}
