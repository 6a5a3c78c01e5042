package signature

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
)

// Trust is whose signatures count: some keys, and whoever has a certificate below some
// roots. The zero value trusts nobody.
type Trust struct {
	keys  []trustedKey
	roots *x509.CertPool
	ids   []string // of the keys, and the roots' subjects
}

type trustedKey struct {
	id  string
	key *ecdsa.PublicKey
}

// maxTrusted bounds the keys and certificates of one Trust.
const maxTrusted = 100

// ParseTrust reads public keys and root certificates: texts of PEM, each of which may hold
// several.
func ParseTrust(texts []string) (*Trust, error) {
	t := &Trust{roots: x509.NewCertPool()}
	for i, text := range texts {
		found, err := blocks([]byte(text))
		for _, block := range found {
			if err == nil {
				err = t.add(block)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
	}
	return t, nil
}

func (t *Trust) add(block *pem.Block) error {
	if len(t.ids) == maxTrusted {
		return unusable("there may be %d keys and certificates, and this is one more", maxTrusted)
	}
	switch block.Type {
	case "PUBLIC KEY":
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		key, ok := parsed.(*ecdsa.PublicKey)
		if err != nil || !ok {
			return unusable("it is no public key for ECDSA on a known curve")
		}
		id, err := idOf(key)
		if err != nil {
			return err
		}
		t.keys = append(t.keys, trustedKey{id, key})
		t.ids = append(t.ids, id)
		return nil
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return unusable("it is no certificate")
		}
		t.roots.AddCert(c)
		t.ids = append(t.ids, c.Subject.String())
		return nil
	}
	return unusable("it is a %s; a PUBLIC KEY or a CERTIFICATE belongs there", shown(block.Type))
}

// Empty tells whether nobody is trusted.
func (t *Trust) Empty() bool { return t == nil || len(t.ids) == 0 }

// Names are the ids of the keys, and the subjects of the roots.
func (t *Trust) Names() []string { return slices.Clone(t.ids) }

// KeyID is the id of the key that the signature says it is by; "" where it names none.
func (b *Bundle) KeyID() string {
	if len(b.chain) == 0 {
		if !isDigest(b.hint) {
			return ""
		}
		return b.hint
	}
	id, err := idOf(b.chain[0].PublicKey.(*ecdsa.PublicKey)) // material saw to it
	if err != nil {
		return ""
	}
	return id
}

// Verify checks the signature itself, and returns the id of the trusted key that made it,
// or ErrForged or ErrUntrusted. Which files it is of is Covers' to say.
func (b *Bundle) Verify(t *Trust) (string, error) {
	switch {
	case b.identity:
		return "", fmt.Errorf("%w: it is by a Sigstore identity, which cannot be checked here", ErrUntrusted)
	case len(b.chain) > 0:
		return b.verifyChain(t)
	case t.Empty():
		return "", fmt.Errorf("%w: no key is trusted", ErrUntrusted)
	}
	for _, k := range t.keys {
		if b.hint != "" && b.hint != k.id {
			continue
		}
		if b.by(k.key) {
			return k.id, nil
		}
		if b.hint != "" {
			return "", fmt.Errorf("%w: key %s did not make it", ErrForged, k.id)
		}
	}
	if b.hint != "" {
		return "", fmt.Errorf("%w: key %s is not among the trusted ones", ErrUntrusted, shown(b.hint))
	}
	return "", fmt.Errorf("%w: no trusted key made it", ErrUntrusted)
}

// by tells whether a key signed the payload.
func (b *Bundle) by(key *ecdsa.PublicKey) bool {
	return ecdsa.VerifyASN1(key, hashOf(key, signed(b.payload)), b.signature)
}

// verifyChain checks a signature that brings certificates along. They are judged as of the
// moment from which the signer's own is valid, for nobody can tell when the signature was
// made: it outlives the certificate, and ends with the trust in its root.
func (b *Bundle) verifyChain(t *Trust) (string, error) {
	own := b.chain[0]
	key := own.PublicKey.(*ecdsa.PublicKey)
	id, err := idOf(key)
	if err != nil {
		return "", fmt.Errorf("%w: its certificate: %w", ErrUntrusted, err)
	}
	if !b.by(key) {
		return "", fmt.Errorf("%w: the key of its certificate did not make it", ErrForged)
	}
	if t == nil || t.roots == nil {
		return "", fmt.Errorf("%w: no root is trusted", ErrUntrusted)
	}
	between := x509.NewCertPool()
	for _, c := range b.chain[1:] {
		between.AddCert(c)
	}
	_, err = own.Verify(x509.VerifyOptions{
		Roots: t.roots, Intermediates: between, CurrentTime: own.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: its certificate is not below a trusted root", ErrUntrusted)
	case own.KeyUsage&x509.KeyUsageDigitalSignature == 0 && !slices.Contains(own.ExtKeyUsage, x509.ExtKeyUsageCodeSigning):
		return "", fmt.Errorf("%w: its certificate is not for signing", ErrUntrusted)
	}
	return id, nil
}
