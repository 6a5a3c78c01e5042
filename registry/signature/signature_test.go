package signature_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/registry/signature"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// model are the files that the signatures in testdata are of.
func model(t testing.TB) (files []signature.File) {
	t.Helper()
	root := os.DirFS(filepath.Join("testdata", "model"))
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, name)
		sum := sha256.Sum256(data)
		files = append(files, signature.File{Name: name, SHA256: hex.EncodeToString(sum[:])})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// trust is whoever the files in testdata/keys name.
func trust(t testing.TB, names ...string) *signature.Trust {
	t.Helper()
	var texts []string
	for _, name := range names {
		texts = append(texts, string(read(t, "keys/"+name)))
	}
	trust, err := signature.ParseTrust(texts)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func signer(t testing.TB, name string, certificates ...string) *signature.Signer {
	t.Helper()
	var chain []byte
	for _, certificate := range certificates {
		chain = append(chain, read(t, "keys/"+certificate)...)
	}
	s, err := signature.ParseSigner(read(t, "keys/"+name), chain)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

func sign(t testing.TB, s *signature.Signer) []byte {
	t.Helper()
	data, err := s.Sign("model", model(t), "metadata.json", "model.sig")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// verify is all that a caller does with a signature.
func verify(data []byte, trust *signature.Trust, files []signature.File) (string, error) {
	b, err := signature.Parse(data)
	if err != nil {
		return "", err
	}
	id, err := b.Verify(trust)
	if err == nil {
		err = b.Covers(files)
	}
	return id, err
}

// keyID is the id of a key by its definition.
func keyID(t testing.TB, name string) string {
	sum := sha256.Sum256(read(t, "keys/"+name))
	return hex.EncodeToString(sum[:])
}

// What the Python package model_signing signed is verified here.
func TestVerifyOthersSignatures(t *testing.T) {
	tests := []struct {
		file  string
		trust []string
		key   string
		want  error
	}{
		{"P-256.sig", []string{"P-256.pub"}, "P-256.pub", nil},
		{"P-384.sig", []string{"P-256.pub", "P-384.pub", "P-521.pub"}, "P-384.pub", nil},
		{"P-521.sig", []string{"P-521.pub"}, "P-521.pub", nil},
		{"certificate.sig", []string{"root.crt"}, "", nil},
		{"certificate.sig", []string{"other-root.crt", "root.crt", "P-256.pub"}, "", nil},
		{"certificate.sig", []string{"signer.crt"}, "", nil}, // this signer alone
		{"P-256.sig", nil, "", signature.ErrUntrusted},
		{"P-256.sig", []string{"P-384.pub", "root.crt"}, "", signature.ErrUntrusted},
		{"certificate.sig", nil, "", signature.ErrUntrusted},
		{"certificate.sig", []string{"P-256.pub", "other-root.crt", "server.crt"}, "", signature.ErrUntrusted},
		{"server.sig", []string{"root.crt"}, "", signature.ErrUntrusted}, // its certificate is not for signing
	}
	for _, test := range tests {
		t.Run(test.file+" "+strings.Join(test.trust, " "), func(t *testing.T) {
			id, err := verify(read(t, "signatures/"+test.file), trust(t, test.trust...), model(t))
			if !errors.Is(err, test.want) {
				t.Fatalf("got error %v, want %v", err, test.want)
			}
			if test.key != "" && id != keyID(t, test.key) {
				t.Errorf("the key is %s, want that of %s", id, test.key)
			}
		})
	}
}

// A private key is read in each form that openssl writes.
func TestSign(t *testing.T) {
	tests := []struct {
		key          string
		certificates []string
		trust        string
	}{
		{"P-256.pem", nil, "P-256.pub"},
		{"P-256.sec1.pem", nil, "P-256.pub"},
		{"P-256.params.pem", nil, "P-256.pub"},
		{"P-384.pem", nil, "P-384.pub"},
		{"P-521.pem", nil, "P-521.pub"},
		{"signer.pem", []string{"signer.crt", "authority.crt"}, "root.crt"},
		{"signer.pem", []string{"signer.crt"}, "authority.crt"},
	}
	for _, test := range tests {
		t.Run(test.key+" "+test.trust, func(t *testing.T) {
			s := signer(t, test.key, test.certificates...)
			data := sign(t, s)
			if !bytes.Equal(data, sign(t, s)) {
				t.Error("a second signature of the same files differs")
			}
			id, err := verify(data, trust(t, test.trust), model(t))
			if err != nil || id != s.KeyID() {
				t.Errorf("verified as by %q: %v", id, err)
			}
			if b, err := signature.Parse(data); err != nil || b.KeyID() != s.KeyID() {
				t.Errorf("it says that it is by %q: %v", b.KeyID(), err)
			}
			if _, err := verify(data, trust(t, "other-root.crt", "server.crt"), model(t)); !errors.Is(err, signature.ErrUntrusted) {
				t.Errorf("a stranger's: %v", err)
			}
		})
	}
}

// statementOf is what a signature is of, as JSON.
func statementOf(t testing.TB, data []byte) (s struct {
	Type          string `json:"_type"`
	PredicateType string `json:"predicateType"`
	Subject       []any  `json:"subject"`
	Predicate     struct {
		Resources []any `json:"resources"`
	} `json:"predicate"`
}) {
	t.Helper()
	var d struct {
		Envelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(d.Envelope.Payload, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// What is signed here is the same statement that model_signing makes of the same folder,
// in the same order and so with the same digest as its subject.
func TestStatementIsTheOthers(t *testing.T) {
	ours := statementOf(t, sign(t, signer(t, "P-256.pem")))
	if diff := cmp.Diff(statementOf(t, read(t, "signatures/P-256.sig")), ours); diff != "" {
		t.Error(diff)
	}
}

func TestCovers(t *testing.T) {
	b, err := signature.Parse(read(t, "signatures/P-256.sig"))
	if err != nil {
		t.Fatal(err)
	}
	files := model(t)
	slices.Reverse(files)
	if err := b.Covers(files); err != nil {
		t.Errorf("the same files in another order: %v", err)
	}
	changed := slices.Clone(files)
	changed[1].SHA256 = strings.Repeat("0", 64)
	renamed := slices.Clone(files)
	renamed[2].Name = "sub/B.txt"
	for name, files := range map[string][]signature.File{
		"one missing":  files[1:],
		"none":         nil,
		"one more":     append(slices.Clone(files), signature.File{Name: "more", SHA256: strings.Repeat("0", 64)}),
		"one twice":    append(slices.Clone(files), files[0]),
		"one changed":  changed,
		"one renamed":  renamed,
		"digests swap": {{Name: files[0].Name, SHA256: files[1].SHA256}, {Name: files[1].Name, SHA256: files[0].SHA256}, files[2], files[3]},
	} {
		if err := b.Covers(files); !errors.Is(err, signature.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnusableKeys(t *testing.T) {
	trusts := map[string]string{
		"empty": "", "white space": " \n", "no PEM": "MFkwEwYH", "a private key": string(read(t, "keys/P-256.pem")),
		"RSA": string(read(t, "keys/rsa.pub")), "text before": "key:\n" + string(read(t, "keys/P-256.pub")),
		"text behind": string(read(t, "keys/P-256.pub")) + "x", "cut": string(read(t, "keys/P-256.pub"))[:100],
		"too long": strings.Repeat(string(read(t, "keys/P-256.pub")), 2000), "too many": strings.Repeat(string(read(t, "keys/P-256.pub")), 101),
		"no certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	}
	for name, text := range trusts {
		if trust, err := signature.ParseTrust([]string{text}); !errors.Is(err, signature.ErrKey) || trust != nil {
			t.Errorf("trust %s: %v", name, err)
		}
	}
	both := string(read(t, "keys/P-256.pub")) + "\n\n" + string(read(t, "keys/root.crt"))
	if trust, err := signature.ParseTrust([]string{both}); err != nil || len(trust.Names()) != 2 {
		t.Errorf("a key and a certificate in one text: %v", err)
	}
	for _, name := range []string{"encrypted.pem", "secp256k1.pem", "rsa.pem", "P-256.pub", "root.crt"} {
		if _, err := signature.ParseSigner(read(t, "keys/"+name), nil); !errors.Is(err, signature.ErrKey) {
			t.Errorf("sign with %s: %v", name, err)
		}
	}
	twice := append(read(t, "keys/P-256.pem"), read(t, "keys/P-256.pem")...)
	if _, err := signature.ParseSigner(twice, nil); !errors.Is(err, signature.ErrKey) {
		t.Errorf("sign with two keys: %v", err)
	}
	if _, err := signature.ParseSigner(read(t, "keys/signer.pem"), read(t, "keys/authority.crt")); !errors.Is(err, signature.ErrKey) {
		t.Errorf("sign with another's certificate: %v", err)
	}
}

// A key never shows up where a signer is printed.
func TestSignerKeepsItsKey(t *testing.T) {
	s := signer(t, "P-256.pem")
	if got := s.String() + s.GoString(); got != strings.Repeat("key "+s.KeyID(), 2) {
		t.Errorf("printed as %s", got)
	}
}

// No byte of a signature can be changed so that it is one of other files.
func TestNoChangeIsTrusted(t *testing.T) {
	files, trusted := model(t), trust(t, "P-256.pub", "root.crt")
	changed, harmless := 0, 0
	for _, name := range []string{"P-256.sig", "certificate.sig"} {
		original := read(t, "signatures/"+name)
		for i := range original {
			for _, bit := range []byte{1, 2, 4, 8, 16, 32, 64, 128} {
				data := bytes.Clone(original)
				data[i] ^= bit
				changed++
				switch _, err := verify(data, trusted, files); {
				case err == nil:
					harmless++ // what decides nothing, as the case of a field's name that may be left out
				case errors.Is(err, signature.ErrMismatch):
					t.Fatalf("%s with bit %d of byte %d changed is a trusted signature of other files", name, bit, i)
				}
			}
		}
	}
	t.Logf("signature.flips %d, all but %d refused, none trusted for other files", changed, harmless)
	if harmless > changed/100 {
		t.Errorf("%d of %d changes were not noticed", harmless, changed)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"P-256.sig", "P-384.sig", "P-521.sig", "certificate.sig", "server.sig"} {
		f.Add(read(f, "signatures/"+name))
	}
	f.Add(sign(f, signer(f, "P-256.pem")))
	f.Add(sign(f, signer(f, "signer.pem", "signer.crt", "authority.crt")))
	files, trusted := model(f), trust(f, "P-256.pub", "P-384.pub", "P-521.pub", "root.crt")
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := signature.Parse(data)
		if err != nil {
			if !errors.Is(err, signature.ErrMalformed) || len(err.Error()) > 1000 {
				t.Fatalf("%v", err)
			}
			return
		}
		// No key has signed anything but these files.
		if _, err := b.Verify(trusted); err == nil {
			if err := b.Covers(files); err != nil {
				t.Fatalf("a trusted signature of other files: %v", err)
			}
		}
	})
}

// FuzzStatement is FuzzParse behind the base64, where no signature stands in the way.
func FuzzStatement(f *testing.F) {
	var d map[string]any
	if err := json.Unmarshal(read(f, "signatures/P-256.sig"), &d); err != nil {
		f.Fatal(err)
	}
	envelope := d["dsseEnvelope"].(map[string]any)
	payload, err := base64.StdEncoding.DecodeString(envelope["payload"].(string))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	files, trusted := model(f), trust(f, "P-256.pub")
	f.Fuzz(func(t *testing.T, payload []byte) {
		envelope["payload"] = base64.StdEncoding.EncodeToString(payload)
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		b, err := signature.Parse(data)
		if err != nil {
			return
		}
		if _, err := b.Verify(trusted); err == nil && b.Covers(files) != nil {
			t.Fatal("a trusted signature of other files")
		}
	})
}
