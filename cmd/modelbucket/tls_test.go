package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelbucket/blob/blobtest"
)

// newIdentity makes a certificate for this machine that vouches for itself.
func newIdentity(t testing.TB) *blobtest.Identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	i := &blobtest.Identity{CertFile: filepath.Join(folder, "cert.pem"), KeyFile: filepath.Join(folder, "key.pem")}
	for name, block := range map[string]*pem.Block{i.CertFile: {Type: "CERTIFICATE", Bytes: der}, i.KeyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

// provider is an issuer of tokens, as other programs are: behind TLS, known by a file of
// certificates.
type provider struct {
	*httptest.Server
	caFile string
	key    *rsa.PrivateKey
}

func startProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	var err error
	if p.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"%s/keys"}`, p.URL, p.URL)
		case "/keys":
			fmt.Fprintf(w, `{"keys":[{"kty":"RSA","kid":"k","use":"sig","alg":"RS256","n":%q,"e":%q}]}`, encode(p.key.N.Bytes()), encode(big.NewInt(int64(p.key.E)).Bytes()))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(p.Close)
	p.caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(p.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// token is for a subject in a group.
func (p *provider) token(t *testing.T, subject, group string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	claims := fmt.Appendf(nil, `{"iss":%q,"aud":"modelbucket","sub":%q,"exp":%d,"groups":[%q]}`, p.URL, subject, time.Now().Add(time.Hour).Unix(), group)
	text := encode([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

// TestTLSAndOIDC sets a node up as the README says: a certificate from files, which is
// renewed under way, and the tokens of an issuer.
func TestTLSAndOIDC(t *testing.T) {
	issuer, identity := startProvider(t), newIdentity(t)
	t.Setenv("SSL_CERT_FILE", identity.CertFile) // for the verbs that are started
	node := mustStart(t, t.TempDir(), os.Environ(), "--tls-cert="+identity.CertFile, "--tls-key="+identity.KeyFile, "--host=localhost",
		"--oidc-issuer="+issuer.URL, "--oidc-ca="+issuer.caFile, "--oidc-audience=modelbucket",
		"--oidc-role=groups=trainers:writer@acme", "--oidc-role=groups=trainers:promoter@acme", "--oidc-role=groups=analysts:reader")
	events := absolute(t, "demo/events.json")
	for i, row := range []struct {
		subject, group string
		args           []string
		code           int
		says           string
	}{
		{"ada", "trainers", []string{"train", "acme/edge", events, "--alias", "champion"}, 0, "acme/edge:1"},
		{"ada", "trainers", []string{"detect", "acme/edge@champion", events, "-q"}, 0, ""},
		{"ada", "trainers", []string{"list", "bolt/edge"}, exitNotFound, ""},
		{"grace", "analysts", []string{"show", "acme/edge"}, 0, "oidc:ada"},
		{"grace", "analysts", []string{"push", "acme/edge", events}, exitFailed, "permission"},
		{"eve", "others", []string{"show", "acme/edge"}, exitNotFound, ""},
	} {
		if i == 3 { // its certificate is renewed
			renewed := newIdentity(t)
			for from, to := range map[string]string{renewed.CertFile: identity.CertFile, renewed.KeyFile: identity.KeyFile} {
				text, err := os.ReadFile(from)
				if err == nil {
					err = os.WriteFile(to, text, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		code, said := 0, ""
		for range 100 { // a node looks for a new certificate once a second
			t.Setenv("MODELBUCKET_TOKEN", issuer.token(t, row.subject, row.group))
			if code, said = modelbucket(t, append([]string{"--server", node.URL}, row.args...)...); !strings.Contains(said, "certificate") {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if code != row.code || !strings.Contains(said, row.says) {
			t.Errorf("%s: %v ends with %d, want %d: %s", row.subject, row.args, code, row.code, said)
		}
	}
	log, err := os.ReadFile(node.log)
	if err != nil || !strings.Contains(string(log), "the certificate was renewed") || strings.Contains(string(log), "eyJ") {
		t.Errorf("the log: %s, %v", log, err)
	}
}
