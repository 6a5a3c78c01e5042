package signature_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	"modelbucket/registry/signature"
)

// A chain in which everything is right but one certificate.
func TestHostileChains(t *testing.T) {
	root := newAuthority(t, nil, true)
	between := newAuthority(t, root, true)
	mayNotIssue := newAuthority(t, root, false)
	stranger := newAuthority(t, nil, true)
	signing := func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }
	tests := []struct {
		name  string
		from  *authority
		chain []*authority
		usage func(*x509.Certificate)
		want  error
	}{
		{"in order", between, []*authority{between}, signing, nil},
		{"for code", between, []*authority{between}, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }, nil},
		{"expired since", between, []*authority{between}, func(c *x509.Certificate) {
			signing(c)
			c.NotAfter = c.NotBefore.Add(time.Minute)
		}, nil},
		{"not for anything", between, []*authority{between}, func(*x509.Certificate) {}, signature.ErrUntrusted},
		{"before its issuer", between, []*authority{between}, func(c *x509.Certificate) {
			signing(c)
			c.NotBefore = c.NotBefore.Add(-1000 * time.Hour)
		}, signature.ErrUntrusted},
		{"one is missing", between, nil, signing, signature.ErrUntrusted},
		{"by who may not issue", mayNotIssue, []*authority{mayNotIssue}, signing, signature.ErrUntrusted},
		{"by a stranger who brings a root along", stranger, []*authority{stranger, root}, signing, signature.ErrUntrusted},
	}
	trusted, err := signature.ParseTrust([]string{root.pem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("signature.chains %d", len(tests))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			own := issue(t, test.from, test.usage)
			chain := own.pem()
			for _, c := range test.chain {
				chain += c.pem()
			}
			key, err := x509.MarshalPKCS8PrivateKey(own.key)
			if err != nil {
				t.Fatal(err)
			}
			s, err := signature.ParseSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), []byte(chain))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := verify(sign(t, s), trusted, model(t)); !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
		})
	}
}

// authority is a certificate with its key.
type authority struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Raw}))
}

// newAuthority makes one below another (nil: a root).
func newAuthority(t testing.TB, from *authority, mayIssue bool) *authority {
	return issue(t, from, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid = mayIssue, true
		if mayIssue {
			c.KeyUsage = x509.KeyUsageCertSign
		}
	})
}

func issue(t testing.TB, from *authority, shape func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: rand.Text()}, NotBefore: now, NotAfter: now.Add(time.Hour)}
	if from == nil {
		c.NotBefore, from = now.Add(-time.Hour), &authority{c, key}
	}
	shape(c)
	der, err := x509.CreateCertificate(rand.Reader, c, from.Certificate, &key.PublicKey, from.key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{made, key}
}
