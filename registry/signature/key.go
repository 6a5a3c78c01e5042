package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	_ "crypto/sha512" // for P-384 and P-521
)

// maxPEM bounds the text of keys and certificates, in bytes.
const maxPEM = 256 << 10

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrKey, fmt.Sprintf(format, args...))
}

// digestFor is the hash that goes with a key's curve; 0: the curve is not known here.
func digestFor(key *ecdsa.PublicKey) crypto.Hash {
	switch key.Curve {
	case elliptic.P256():
		return crypto.SHA256
	case elliptic.P384():
		return crypto.SHA384
	case elliptic.P521():
		return crypto.SHA512
	}
	return 0
}

// hashOf is what ECDSA signs for a message.
func hashOf(key *ecdsa.PublicKey, message []byte) []byte {
	h := digestFor(key).New()
	h.Write(message)
	return h.Sum(nil)
}

// idOf is the id of a key: the SHA-256 of its PEM.
func idOf(key *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil || digestFor(key) == 0 {
		return "", unusable("it is on no curve that is known here: P-256, P-384 or P-521")
	}
	sum := sha256.Sum256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return hex.EncodeToString(sum[:]), nil
}

// blocks takes PEM apart. Nothing but white space may stand around the blocks.
func blocks(text []byte) ([]*pem.Block, error) {
	if len(text) > maxPEM {
		return nil, unusable("it has %d bytes, it may have %d", len(text), maxPEM)
	}
	var found []*pem.Block
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			return nil, unusable("it is not in PEM")
		}
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, unusable("its PEM is damaged")
		}
		found = append(found, block)
	}
	if len(found) == 0 {
		return nil, unusable("it is empty")
	}
	return found, nil
}

// parseCertificates reads certificates, at least one.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	found, err := blocks(text)
	if err != nil {
		return nil, err
	}
	var all []*x509.Certificate
	for _, block := range found {
		if block.Type != "CERTIFICATE" {
			return nil, unusable("it holds a %s where a CERTIFICATE belongs", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, unusable("it is no certificate")
		}
		all = append(all, c)
	}
	return all, nil
}

// parsePrivateKey reads a private key as openssl writes it, in PKCS #8 or SEC 1.
func parsePrivateKey(text []byte) (*ecdsa.PrivateKey, error) {
	found, err := blocks(text)
	if err != nil {
		return nil, err
	}
	if len(found) == 2 && found[0].Type == "EC PARAMETERS" { // openssl ecparam writes them before the key
		found = found[1:]
	}
	block := found[0]
	switch {
	case len(found) != 1:
		return nil, unusable("it holds %d blocks of PEM, not one private key", len(found))
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return nil, unusable("it is encrypted; openssl pkey -in FILE -out PLAIN takes that off")
	case block.Type == "EC PRIVATE KEY":
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, unusable("it is no private key for ECDSA on a known curve")
		}
		return key, nil
	case block.Type == "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		key, ok := parsed.(*ecdsa.PrivateKey)
		if err != nil || !ok {
			return nil, unusable("it is no private key for ECDSA on a known curve")
		}
		return key, nil
	}
	return nil, unusable("it is a %s, not a PRIVATE KEY", block.Type)
}
