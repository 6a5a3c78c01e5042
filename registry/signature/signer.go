package signature

import (
	"crypto/ecdsa"
	"encoding/base64"
	"fmt"

	"github.com/go-json-experiment/json"
)

// Signer is a private key, and the certificates that vouch for it where there are any.
type Signer struct {
	key   *ecdsa.PrivateKey
	id    string
	chain [][]byte // DER, the key's own first
}

// ParseSigner reads a private key in PEM, and the certificates (nil: none) that are to go
// along with what it signs: its own first, then those between it and the root.
func ParseSigner(key, certificates []byte) (*Signer, error) {
	private, err := parsePrivateKey(key)
	if err != nil {
		return nil, err
	}
	s := &Signer{key: private}
	if s.id, err = idOf(&private.PublicKey); err != nil {
		return nil, err
	}
	if len(certificates) == 0 {
		return s, nil
	}
	chain, err := parseCertificates(certificates)
	if err != nil {
		return nil, err
	}
	if len(chain) > maxCertificates {
		return nil, unusable("%d certificates; there may be %d", len(chain), maxCertificates)
	}
	if own, ok := chain[0].PublicKey.(*ecdsa.PublicKey); !ok || !own.Equal(&private.PublicKey) {
		return nil, unusable("the first certificate is not that of the private key")
	}
	for _, c := range chain {
		if len(c.Raw) > maxCertificate {
			return nil, unusable("a certificate of %d bytes; it may have %d", len(c.Raw), maxCertificate)
		}
		s.chain = append(s.chain, c.Raw)
	}
	return s, nil
}

// KeyID is the id of the key.
func (s *Signer) KeyID() string { return s.id }

// String does not tell the key.
func (s *Signer) String() string { return "key " + s.id }

// GoString does neither.
func (s *Signer) GoString() string { return s.String() }

// made is a bundle as it is written. The fields of a document that it does not use would
// be null in it, which the format does not know.
type made struct {
	MediaType string       `json:"mediaType"`
	Material  madeMaterial `json:"verificationMaterial"`
	Envelope  madeEnvelope `json:"dsseEnvelope"`
}

type madeMaterial struct {
	PublicKey  map[string]string        `json:"publicKey,omitempty"`
	Chain      map[string][]certificate `json:"x509CertificateChain,omitempty"`
	LogEntries []string                 `json:"tlogEntries"`
}

type madeEnvelope struct {
	Payload     string          `json:"payload"`
	PayloadType string          `json:"payloadType"`
	Signatures  []madeSignature `json:"signatures"`
}

type madeSignature struct {
	Signature string `json:"sig"`
	KeyID     string `json:"keyid"` // always empty: the hint tells
}

// Sign signs a model's files. ignored are the paths of files that may lie beside them in a
// folder without being the model's. The same files and key make the same signature, for
// ECDSA's nonce comes from them (RFC 6979).
func (s *Signer) Sign(model string, files []File, ignored ...string) ([]byte, error) {
	payload, err := makeStatement(model, files, ignored)
	if err != nil {
		return nil, err
	}
	signature, err := s.key.Sign(nil, hashOf(&s.key.PublicKey, signed(payload)), digestFor(&s.key.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	m := made{MediaType: bundleType, Material: madeMaterial{LogEntries: []string{}}, Envelope: madeEnvelope{
		Payload: base64.StdEncoding.EncodeToString(payload), PayloadType: payloadType,
		Signatures: []madeSignature{{Signature: base64.StdEncoding.EncodeToString(signature)}},
	}}
	if s.chain == nil {
		m.Material.PublicKey = map[string]string{"hint": s.id}
	} else {
		var chain []certificate
		for _, der := range s.chain {
			chain = append(chain, certificate{base64.StdEncoding.EncodeToString(der)})
		}
		m.Material.Chain = map[string][]certificate{"certificates": chain}
	}
	data, err := json.Marshal(m)
	if err == nil && len(data) > MaxBundle {
		err = fmt.Errorf("sign: the signature has %d bytes, it may have %d", len(data), MaxBundle)
	}
	return data, err
}
