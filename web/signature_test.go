package web_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
	"modelbucket/registry/signature"
	"modelbucket/web"
)

func keyFile(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "registry", "signature", "testdata", "keys", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func signerOf(t testing.TB, key string) *signature.Signer {
	t.Helper()
	s, err := signature.ParseSigner([]byte(keyFile(t, key)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bundleOf is the signature of a version that has content as its one file.
func bundleOf(t testing.TB, key, content string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(content))
	data, err := registry.SignFiles(signerOf(t, key), "fraud", []registry.File{{Name: "model.joblib", SHA256: hex.EncodeToString(sum[:])}})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// policy is a body of PUT …/signatures.
func policy(t testing.TB, mode string, keys ...string) string {
	texts := []string{}
	for _, key := range keys {
		texts = append(texts, keyFile(t, key))
	}
	return toJSON(t, map[string]any{"policy": mode, "keys": texts})
}

// publishForm sends content as a form, with a signature where it is not empty.
func (n *node) publishForm(content, signature string, headers ...string) reply {
	n.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, part := range [][2]string{{"model.sig", signature}, {"model.joblib", content}} { // in any order
		if part[1] == "" {
			continue
		}
		p, err := w.CreateFormFile("file", part[0])
		if err != nil {
			n.t.Fatal(err)
		}
		p.Write([]byte(part[1])) // into memory
	}
	w.Close()
	return n.do("POST", fraud+"/versions", &body, append([]string{"Content-Type", w.FormDataContentType()}, headers...)...)
}

func (n *node) wantSignature(path, state string) *registry.SignatureInfo {
	n.t.Helper()
	var v registry.Version
	n.get(path).must(n.t, 200, &v)
	if v.Signature == nil || v.Signature.State != state {
		n.t.Fatalf("%s has the signature %+v, want %s", path, v.Signature, state)
	}
	return v.Signature
}

// What is required is not served without, by whatever door.
func TestSignatureRequired(t *testing.T) {
	n := serve(t, nil)
	n.json("POST", fraud+"/train?n_estimators=5", toJSON(t, events(100))).must(t, 201, nil)
	n.json("POST", fraud+"/detect", oneEvent).must(t, 200, nil)
	n.wantSignature(fraud+"/versions/1", "unsigned")
	n.json("PUT", "/v1/tenants/acme/signatures", policy(t, "require", "P-256.pub")).must(t, 200, nil)
	// The detector that is in memory is asked again within the age of an answer.
	ages := 0
	for n.json("POST", fraud+"/detect", oneEvent).StatusCode == 200 {
		if ages++; ages > 100_000 {
			t.Fatal("it goes on scoring")
		}
	}
	doors := []func() reply{
		func() reply { return n.json("POST", fraud+"/detect", oneEvent) },
		func() reply { return n.json("POST", fraud+"/versions/1/detect", oneEvent) },
		func() reply { return n.do("POST", fraud+"/versions/1/load", nil) },
		func() reply { return n.get(fraud + "/versions/1/files/model.joblib") },
		func() reply { return n.get(fraud+"/versions/1/files/model.joblib", "Range", "bytes=0-9") },
		func() reply { return n.json("PUT", fraud+"/aliases/champion", `{"version":1}`) },
		func() reply { return n.json("POST", fraud+"/versions/1/copy", `{"model":"other"}`) },
		func() reply { return n.json("POST", fraud+"/versions/1/copy", `{"tenant":"beta"}`) },
	}
	for _, door := range doors {
		answer := door()
		p := answer.problem(t)
		if p.Code != "signature_required" || p.Status != 422 || !strings.Contains(p.Detail, "acme/fraud:1 is kept, and not served") || !strings.Contains(p.Hint, "modelbucket sign acme/fraud:1") || answer.Header.Get("Modelbucket-Version") != "1" {
			t.Errorf("%s %s: %+v", answer.Request.Method, answer.Request.URL, p)
		}
	}
	for _, door := range []reply{
		n.json("POST", "/models/fraud/detect?tenant_id=acme", oneEvent), n.do("POST", "/models/fraud/load?tenant_id=acme", nil),
		n.do("HEAD", fraud+"/versions/1/files/model.joblib", nil),
	} {
		if door.StatusCode != 422 {
			t.Errorf("%s %s: %d %s", door.Request.Method, door.Request.URL, door.StatusCode, door.body)
		}
	}
	var report registry.VerifyReport
	n.do("POST", fraud+"/versions/1/verify", nil).must(t, 200, &report)
	if !report.OK || report.Signature.State != "unsigned" || report.Signature.Policy != "require" {
		t.Errorf("verify: %+v", report)
	}

	// What is signed goes through.
	var v registry.Version
	n.get(fraud+"/versions/1").must(t, 200, &v)
	good, err := registry.SignFiles(signerOf(t, "P-256.pem"), "fraud", v.Files)
	if err != nil {
		t.Fatal(err)
	}
	var answer registry.Version
	n.json("PUT", fraud+"/versions/1/signature", string(good)).must(t, 200, &answer)
	if answer.Signature.State != "trusted" || answer.Signature.KeyID != signerOf(t, "P-256.pem").KeyID() {
		t.Errorf("signed: %+v", answer.Signature)
	}
	for i, door := range doors {
		if reply := door(); reply.StatusCode >= 300 {
			t.Errorf("door %d: %d %s", i, reply.StatusCode, reply.body)
		}
	}
	if got := n.get(fraud+"/versions/1/signature").must(t, 200, nil); !bytes.Equal(got.body, good) || got.Header.Get("Content-Type") != "application/vnd.dev.sigstore.bundle.v0.3+json" {
		t.Errorf("it is kept as %s %s", got.Header.Get("Content-Type"), got.body)
	}
}

// A detector in memory scores on while the bucket, and with it the policy, is away.
func TestSignedScoresOnWithoutTheBucket(t *testing.T) {
	n := serve(t, func(o *web.Options) { o.Signer = signerOf(t, "P-256.pem") })
	n.json("PUT", "/v1/tenants/acme/signatures", policy(t, "require", "P-256.pub")).must(t, 200, nil)
	var v registry.Version
	n.json("POST", fraud+"/train?n_estimators=5&alias=champion", toJSON(t, events(100))).must(t, 201, &v)
	if v.Signature.State != "trusted" {
		t.Fatalf("trained: %+v", v.Signature)
	}
	n.json("POST", fraud+"/versions/@champion/detect", oneEvent).must(t, 200, nil)
	n.breakStore(blob.ErrUnavailable)
	defer n.breakStore(nil)
	n.json("POST", fraud+"/versions/@champion/detect", oneEvent).must(t, 200, nil)
	if answer := n.get(fraud + "/versions/1/files/model.joblib"); answer.StatusCode != 503 {
		t.Errorf("its file: %d", answer.StatusCode)
	}
}

// SecureNet's own route signs what it trains, too.
func TestSecureTrainSigns(t *testing.T) {
	n := serve(t, func(o *web.Options) { o.Signer = signerOf(t, "P-256.pem") })
	n.json("PUT", "/v1/tenants/acme", `{"signatures":`+policy(t, "require", "P-256.pub")+`}`).must(t, 200, nil)
	n.json("POST", "/models/train", toJSON(t, map[string]any{"tenant_id": "acme", "network_data": events(100)})).must(t, 200, nil)
	n.wantSignature("/v1/tenants/acme/models/isolation_forest_anomaly_detector/versions/1", "trusted")
}

func TestPublishSigned(t *testing.T) {
	n := serve(t, nil)
	n.json("PUT", "/v1/tenants/acme/signatures", policy(t, "require", "P-256.pub")).must(t, 200, nil)
	var v registry.Version
	n.publishForm("x", bundleOf(t, "P-256.pem", "x")).must(t, 201, &v)
	if v.Signature == nil || v.Signature.State != "trusted" || len(v.Files) != 1 {
		t.Errorf("%+v", v)
	}
	for i, bad := range []string{"", bundleOf(t, "P-384.pem", "x"), bundleOf(t, "P-256.pem", "y"), "{}", "x"} {
		answer := n.publishForm("x", bad)
		if p := answer.problem(t); p.Code != "signature_required" || answer.Header.Get("Modelbucket-Version") != registry.Number(i+2).String() {
			t.Errorf("%.20s: %+v", bad, p)
		}
	}
	want := []string{"trusted", "unsigned", "untrusted", "invalid", "invalid", "invalid"}
	for i, state := range want {
		n.wantSignature(fraud+"/versions/"+registry.Number(i+1).String(), state)
	}
	for name, body := range map[string]string{"too large": strings.Repeat(" ", signature.MaxBundle+1)} {
		if p := n.publishForm("x", body).problem(t); p.Code != "too_large" {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestPutSignature(t *testing.T) {
	n := serve(t, nil)
	n.publish("fraud", "", "x")
	path := fraud + "/versions/1/signature"
	if p := n.get(path).problem(t); p.Code != "file_not_found" {
		t.Errorf("none: %+v", p)
	}
	n.json("PUT", path, bundleOf(t, "P-384.pem", "x")).must(t, 200, nil) // nobody is trusted yet: whoever
	n.wantSignature(fraud+"/versions/1", "untrusted")
	n.json("PUT", "/v1/tenants/acme/signatures", policy(t, "warn", "P-256.pub")).must(t, 200, nil)
	n.do("PUT", path, strings.NewReader(bundleOf(t, "P-256.pem", "x")), "Content-Type", "application/vnd.dev.sigstore.bundle.v0.3+json").must(t, 200, nil)
	info := n.wantSignature(fraud+"/versions/latest", "trusted")
	for _, row := range []struct{ body, contentType, code string }{
		{bundleOf(t, "P-384.pem", "x"), "application/json", "bad_signature"},
		{bundleOf(t, "P-256.pem", "y"), "application/json", "bad_signature"},
		{"{}", "application/json", "bad_signature"},
		{"", "application/json", "bad_signature"},
		{bundleOf(t, "P-256.pem", "x"), "application/octet-stream", "unsupported_media_type"},
		{bundleOf(t, "P-256.pem", "x") + strings.Repeat(" ", signature.MaxBundle), "application/json", "too_large"},
	} {
		if p := n.do("PUT", path, strings.NewReader(row.body), "Content-Type", row.contentType).problem(t); p.Code != row.code {
			t.Errorf("%.30s as %s: %+v", row.body, row.contentType, p)
		}
	}
	if again := n.wantSignature(fraud+"/versions/1", "trusted"); *again != *info {
		t.Errorf("it is now %+v", again)
	}
	if p := n.json("PUT", fraud+"/versions/2/signature", "{}").problem(t); p.Code != "version_not_found" {
		t.Errorf("of no version: %+v", p)
	}
	for _, body := range []string{`{"policy":"always","keys":[]}`, `{"policy":"require","keys":[]}`, `{"policy":"warn","keys":["x"]}`, `{"policy":"warn","keys":[],"more":1}`} {
		if p := n.json("PUT", "/v1/tenants/acme/signatures", body).problem(t); p.Code != "bad_request" {
			t.Errorf("%s: %+v", body, p)
		}
	}
}

// Of who writes in the bucket and has no key: whatever he puts there is not served.
func TestForgedInTheBucket(t *testing.T) {
	n := serve(t, func(o *web.Options) { o.Signer = signerOf(t, "P-256.pem") })
	n.json("PUT", "/v1/tenants/acme/signatures", policy(t, "require", "P-256.pub")).must(t, 200, nil)
	n.json("POST", fraud+"/train?n_estimators=5", toJSON(t, events(100))).must(t, 201, nil)
	n.json("POST", fraud+"/train?n_estimators=6", toJSON(t, events(100))).must(t, 201, nil)
	ctx := context.Background()
	page, err := n.memory.List(ctx, blob.ListOptions{Prefix: "acme/fraud/"})
	if err != nil {
		t.Fatal(err)
	}
	var signatures []string
	for _, o := range page.Objects {
		if regexp.MustCompile(`/model\.sig$`).MatchString(o.Key) {
			signatures = append(signatures, o.Key)
		}
	}
	if len(signatures) != 2 {
		t.Fatalf("signatures %q", signatures)
	}
	read := func(key string) []byte {
		body, _, err := n.memory.Get(ctx, key, blob.Range{})
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		var data bytes.Buffer
		if _, err := data.ReadFrom(body); err != nil {
			t.Fatal(err)
		}
		return data.Bytes()
	}
	first, second := read(signatures[0]), read(signatures[1])
	mixed := bytes.Replace(first, sigOf(t, first), sigOf(t, second), 1)
	for name, forged := range map[string][]byte{"removed": nil, "another version's": second, "another's signature on it": mixed, "cut": first[:100]} {
		if forged == nil {
			err = n.memory.Delete(ctx, signatures[0])
		} else {
			_, err = n.memory.Put(ctx, signatures[0], bytes.NewReader(forged), blob.PutOptions{Size: int64(len(forged))})
		}
		if err != nil {
			t.Fatal(err)
		}
		fresh := another(t, n) // a node that has not seen the right one
		if p := fresh.json("POST", fraud+"/versions/1/detect", oneEvent).problem(t); p.Code != "signature_required" {
			t.Errorf("%s: %+v", name, p)
		}
		fresh.json("POST", fraud+"/versions/2/detect", oneEvent).must(t, http.StatusOK, nil)
	}
}

// sigOf is the text of a signature within its bundle.
func sigOf(t testing.TB, bundle []byte) []byte {
	t.Helper()
	found := regexp.MustCompile(`"sig":"([^"]+)"`).FindSubmatch(bundle)
	if found == nil {
		t.Fatalf("no sig in %s", bundle)
	}
	return found[1]
}
