//go:build peers

package signature_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"modelbucket/registry/signature"
)

// job is one thing that model_signing is to do.
type job struct {
	Do        string   `json:"do"`
	Folder    string   `json:"folder"`
	Signature string   `json:"signature"`
	Key       string   `json:"key"`
	Chain     []string `json:"chain"`
}

// modelSigning has the Python package do jobs, and returns its answers.
func modelSigning(t *testing.T, jobs []job) []string {
	t.Helper()
	program := os.Getenv("MODELBUCKET_TEST_PYTHON")
	if program == "" {
		t.Fatal("MODELBUCKET_TEST_PYTHON must name a Python with model_signing")
	}
	var input bytes.Buffer
	for _, j := range jobs {
		line, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		input.Write(append(line, '\n'))
	}
	python := exec.CommandContext(t.Context(), program, "testdata/peer.py")
	python.Stdin = &input
	python.Stderr = os.Stderr
	out, err := python.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(answers) != len(jobs) {
		t.Fatalf("%d answers to %d jobs", len(answers), len(jobs))
	}
	return answers
}

// folder makes a folder of random files, with names from all that names may have.
func folder(t *testing.T, random *rand.Rand) (path string, files []signature.File) {
	t.Helper()
	const letters = "abcXYZ019._ +@=-"
	path = t.TempDir()
	segment := func() string {
		name := []byte{"abcXYZ019"[random.IntN(9)]}
		for range random.IntN(12) {
			name = append(name, letters[random.IntN(len(letters))])
		}
		return string(name)
	}
	taken := map[string]bool{} // files, and the folders above them
	for range 1 + random.IntN(8) {
		var segments []string
		for range 1 + random.IntN(3) {
			segments = append(segments, segment())
		}
		name := strings.Join(segments, "/")
		if taken[name] || slices.ContainsFunc(files, func(f signature.File) bool { return strings.HasPrefix(name, f.Name+"/") }) {
			continue
		}
		for i := range segments {
			taken[strings.Join(segments[:i+1], "/")] = true
		}
		content := make([]byte, random.IntN(5000))
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		write(t, filepath.Join(path, filepath.FromSlash(name)), content)
		sum := sha256.Sum256(content)
		files = append(files, signature.File{Name: name, SHA256: hex.EncodeToString(sum[:])})
	}
	return path, files
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// hand is one who signs, and by what he is trusted.
type hand struct {
	key   string
	chain []string
	trust string
}

var hands = []hand{
	{"P-256.pem", nil, "P-256.pub"},
	{"P-256.sec1.pem", nil, "P-256.pub"},
	{"P-384.pem", nil, "P-384.pub"},
	{"P-521.pem", nil, "P-521.pub"},
	{"signer.pem", []string{"signer.crt", "authority.crt"}, "root.crt"},
}

func keyPath(name string) string { return filepath.Join("testdata", "keys", name) }

func random(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

const folders = 40

// What is signed here, model_signing verifies: in a folder as it lies in the bucket, with
// the signature and the metadata among the files. And it notices what was changed.
func TestModelSigningVerifies(t *testing.T) {
	random := random(t)
	var jobs []job
	var wants []bool
	for i := range folders {
		h := hands[i%len(hands)]
		path, files := folder(t, random)
		data, err := signer(t, h.key, h.chain...).Sign("fraud", files, "metadata.json", "model.sig")
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(path, "model.sig"), data)
		write(t, filepath.Join(path, "metadata.json"), []byte("{}"))
		j := job{Do: "verify", Folder: path, Signature: filepath.Join(path, "model.sig"), Key: keyPath(h.trust)}
		if h.chain != nil {
			j.Chain = []string{keyPath(h.trust)}
		}
		right := i%4 != 3
		if !right {
			write(t, filepath.Join(path, filepath.FromSlash(files[0].Name)), []byte("changed afterwards"))
		}
		jobs, wants = append(jobs, j), append(wants, right)
	}
	for i, answer := range modelSigning(t, jobs) {
		if (answer == "ok") != wants[i] {
			t.Errorf("folder %d: model_signing says %s, want ok: %v", i, answer, wants[i])
		}
	}
	t.Logf("signature.verified_by_peer %d of %d, the others were changed", folders-folders/4, folders)
}

// What model_signing signs is verified here.
func TestModelSigningSigns(t *testing.T) {
	random := random(t)
	var jobs []job
	var all [][]signature.File
	out := t.TempDir()
	for i := range folders {
		h := hands[i%len(hands)]
		path, files := folder(t, random)
		j := job{Do: "sign", Folder: path, Signature: filepath.Join(out, fmt.Sprint(i)), Key: keyPath(h.key)}
		for _, c := range h.chain {
			j.Chain = append(j.Chain, keyPath(c))
		}
		jobs, all = append(jobs, j), append(all, files)
	}
	for i, answer := range modelSigning(t, jobs) {
		if answer != "ok" {
			t.Fatalf("folder %d: model_signing says %s", i, answer)
		}
		data, err := os.ReadFile(jobs[i].Signature)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verify(data, trust(t, hands[i%len(hands)].trust), all[i]); err != nil {
			t.Errorf("folder %d: %v", i, err)
		}
		changed := slices.Clone(all[i])
		changed[0].SHA256 = strings.Repeat("0", 64)
		if _, err := verify(data, trust(t, hands[i%len(hands)].trust), changed); err == nil {
			t.Errorf("folder %d: a changed file is not noticed", i)
		}
		// Both make the same of the same folder.
		ours, err := signer(t, hands[i%len(hands)].key).Sign(filepath.Base(jobs[i].Folder), all[i])
		if err != nil {
			t.Fatal(err)
		}
		if a, b := fmt.Sprint(statementOf(t, data)), fmt.Sprint(statementOf(t, ours)); a != b {
			t.Errorf("folder %d is signed as %s, here as %s", i, a, b)
		}
	}
	t.Logf("signature.verified_of_peer %d of %d", folders, folders)
}

// Keys that openssl makes sign here, and openssl finds the signature right.
func TestOpenSSL(t *testing.T) {
	openssl := func(args ...string) []byte {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %q: %v: %s", args, err, out)
		}
		return out
	}
	for curve, digest := range map[string]string{"prime256v1": "-sha256", "secp384r1": "-sha384", "secp521r1": "-sha512"} {
		dir := t.TempDir()
		at := func(name string) string { return filepath.Join(dir, name) }
		openssl("ecparam", "-name", curve, "-genkey", "-out", at("sec1.pem")) // with its parameters before it
		openssl("pkcs8", "-topk8", "-nocrypt", "-in", at("sec1.pem"), "-out", at("pkcs8.pem"))
		openssl("ec", "-in", at("sec1.pem"), "-pubout", "-out", at("key.pub"))
		openssl("req", "-x509", "-new", "-key", at("pkcs8.pem"), "-subj", "/CN=signer", "-addext", "keyUsage=digitalSignature", "-out", at("own.crt"))
		read := func(name string) []byte {
			data, err := os.ReadFile(at(name))
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
		sum := sha256.Sum256(read("key.pub"))
		for _, form := range []string{"sec1.pem", "pkcs8.pem"} {
			s, err := signature.ParseSigner(read(form), nil)
			if err != nil {
				t.Fatalf("%s %s: %v", curve, form, err)
			}
			if s.KeyID() != hex.EncodeToString(sum[:]) {
				t.Errorf("%s %s: the key's id is %s; sha256sum says %x", curve, form, s.KeyID(), sum)
			}
			data := sign(t, s)
			trusted, err := signature.ParseTrust([]string{string(read("key.pub"))})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := verify(data, trusted, model(t)); err != nil {
				t.Errorf("%s %s: %v", curve, form, err)
			}
			var d struct {
				Envelope struct {
					Payload    []byte
					Signatures []struct{ Sig string }
				} `json:"dsseEnvelope"`
			}
			if err := json.Unmarshal(data, &d); err != nil {
				t.Fatal(err)
			}
			raw, err := base64.StdEncoding.DecodeString(d.Envelope.Signatures[0].Sig)
			if err != nil {
				t.Fatal(err)
			}
			write(t, at("message"), pae(payloadType, d.Envelope.Payload))
			write(t, at("sig"), raw)
			if out := openssl("dgst", digest, "-verify", at("key.pub"), "-signature", at("sig"), at("message")); string(out) != "Verified OK\n" {
				t.Errorf("%s %s: openssl says %s", curve, form, out)
			}
		}
		// Its own certificate, pinned.
		s, err := signature.ParseSigner(read("pkcs8.pem"), read("own.crt"))
		if err != nil {
			t.Fatal(err)
		}
		trusted, err := signature.ParseTrust([]string{string(read("own.crt"))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verify(sign(t, s), trusted, model(t)); err != nil {
			t.Errorf("%s: by its own certificate: %v", curve, err)
		}
	}
}
