package signature

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	bundleType  = "application/vnd.dev.sigstore.bundle.v0.3+json"
	payloadType = "application/vnd.in-toto+json"
)

// The limits of a signature. All of it is read before anything of it is believed.
const (
	MaxBundle       = 2 << 20 // bytes
	maxSignature    = 160     // bytes of ASN.1; one of P-521 has 139
	maxHint         = 256     // bytes
	maxCertificates = 10
	maxCertificate  = 8 << 10 // bytes of DER
)

// Bundle is a signature that was read, and that nobody has checked yet.
type Bundle struct {
	payload, signature []byte
	hint               string              // id of the key; "": it names none
	chain              []*x509.Certificate // the signer's own first; nil: a bare key
	identity           bool                // made for a Sigstore identity
	files              []File
}

// document is the JSON of a bundle. What it has for transparency logs and time stamps is
// read over: with keys and certificates of one's own there is neither.
type document struct {
	MediaType string `json:"mediaType"`
	Material  struct {
		PublicKey *struct {
			Hint string `json:"hint"`
		} `json:"publicKey"`
		Chain *struct {
			Certificates []certificate `json:"certificates"`
		} `json:"x509CertificateChain"`
		Certificate *certificate   `json:"certificate"`
		LogEntries  jsontext.Value `json:"tlogEntries"`
		Timestamps  jsontext.Value `json:"timestampVerificationData"`
	} `json:"verificationMaterial"`
	Envelope struct {
		Payload     string `json:"payload"`
		PayloadType string `json:"payloadType"`
		Signatures  []struct {
			Signature string `json:"sig"`
			KeyID     string `json:"keyid"`
		} `json:"signatures"`
	} `json:"dsseEnvelope"`
}

type certificate struct {
	RawBytes string `json:"rawBytes"`
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Parse reads a signature. Whatever is not in order about its form is ErrMalformed.
func Parse(data []byte) (*Bundle, error) {
	if len(data) > MaxBundle {
		return nil, malformed("it has %d bytes, it may have %d", len(data), MaxBundle)
	}
	var d document
	if err := json.Unmarshal(data, &d, json.RejectUnknownMembers(true)); err != nil {
		return nil, malformed("it is no Sigstore bundle in JSON")
	}
	if d.MediaType != bundleType {
		return nil, malformed("its mediaType is %s, not %s", shown(d.MediaType), bundleType)
	}
	if d.Envelope.PayloadType != payloadType {
		return nil, malformed("its payloadType is %s, not %s", shown(d.Envelope.PayloadType), payloadType)
	}
	if n := len(d.Envelope.Signatures); n != 1 {
		return nil, malformed("it has %d signatures, not one", n)
	}
	b := new(Bundle)
	var err error
	if b.payload, err = decode(d.Envelope.Payload, MaxBundle); err != nil {
		return nil, malformed("its payload %v", err)
	}
	if b.signature, err = decode(d.Envelope.Signatures[0].Signature, maxSignature); err != nil {
		return nil, malformed("its sig %v", err)
	}
	if err := b.material(&d); err != nil {
		return nil, err
	}
	b.files, err = parseStatement(b.payload)
	return b, err
}

// material reads by what a signature says that it can be verified: exactly one of three.
func (b *Bundle) material(d *document) error {
	m := &d.Material
	switch {
	case m.PublicKey != nil && m.Chain == nil && m.Certificate == nil:
		b.hint = m.PublicKey.Hint
		if len(b.hint) > maxHint {
			return malformed("the hint of its key has %d bytes, it may have %d", len(b.hint), maxHint)
		}
		return nil
	case m.PublicKey == nil && m.Chain != nil && m.Certificate == nil:
		if n := len(m.Chain.Certificates); n < 1 || n > maxCertificates {
			return malformed("it has %d certificates; it has 1 to %d", n, maxCertificates)
		}
		for i, c := range m.Chain.Certificates {
			der, err := decode(c.RawBytes, maxCertificate)
			if err != nil {
				return malformed("its certificate %d %v", i+1, err)
			}
			parsed, err := x509.ParseCertificate(der)
			if err != nil {
				return malformed("its certificate %d is none", i+1)
			}
			b.chain = append(b.chain, parsed)
		}
		if _, ok := b.chain[0].PublicKey.(*ecdsa.PublicKey); !ok {
			return malformed("the certificate of who signed it has no ECDSA key")
		}
		return nil
	case m.PublicKey == nil && m.Chain == nil && m.Certificate != nil:
		b.identity = true
		return nil
	}
	return malformed("its verificationMaterial is not exactly one of publicKey, x509CertificateChain and certificate")
}

// decode reads base64, in the one form in which bytes can be written.
func decode(text string, limit int) ([]byte, error) {
	if base64.StdEncoding.DecodedLen(len(text)) > limit+2 {
		return nil, fmt.Errorf("has more than %d bytes", limit)
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	switch {
	case err != nil || strings.ContainsAny(text, "\r\n"):
		return nil, fmt.Errorf("is not in base64")
	case len(data) == 0:
		return nil, fmt.Errorf("is empty")
	case len(data) > limit:
		return nil, fmt.Errorf("has more than %d bytes", limit)
	}
	return data, nil
}

// signed are the bytes that are signed for a payload: DSSE v1's encoding, in which no
// other type and payload read the same.
func signed(payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// shown is a text from outside, escaped and cut.
func shown(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return strconv.QuoteToASCII(s)
}
