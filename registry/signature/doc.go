// Package signature makes and checks signatures of models in the format of OpenSSF Model
// Signing v1.0, as the Python package model_signing writes and reads it: signatures go
// both ways. It works on bytes and digests alone: what is signed, who is trusted and what
// follows from a verdict is for its callers to say.
//
// A signature is one JSON document, a Sigstore bundle:
//
//	{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
//	 "verificationMaterial": {"publicKey": {"hint": <id of the key>}},     or {"x509CertificateChain": …}
//	 "dsseEnvelope": {"payload": <base64>, "payloadType": "application/vnd.in-toto+json",
//	                  "signatures": [{"sig": <base64 of an ASN.1 ECDSA signature>}]}}
//
// What is signed is the payload's bytes as they stand, behind a head that says what they
// are (DSSE v1, "pre-authentication encoding"), and never JSON that was read and written
// again. The payload is an in-toto statement v1 with one subject, whose digest is that of
// all files' digests one after another, and the predicate
// https://model_signing/signature/v1.0, which lists each file with its SHA-256.
//
// A signature says who vouches for a set of files. It does not say for which model they
// are, which of two such sets is the newer one, or when it was made.
//
// Keys are ECDSA on P-256, with SHA-256; those on P-384 and P-521, with SHA-384 and
// SHA-512, are read too, as the format knows them. The id of a key is the SHA-256, in hex,
// of its public half in PEM: what sha256sum prints for the file that openssl wrote.
package signature

import "errors"

var (
	// ErrMalformed: not a signature in this format, or one beyond its limits.
	ErrMalformed = errors.New("malformed signature")
	// ErrMismatch: what was signed are other files.
	ErrMismatch = errors.New("signature of other files")
	// ErrForged: the signature is not one that its key would have made of these bytes.
	ErrForged = errors.New("wrong signature")
	// ErrUntrusted: nobody who is trusted made it, or nobody who can be known here.
	ErrUntrusted = errors.New("signature by nobody who is trusted")
	// ErrKey: a key or certificate that cannot be used.
	ErrKey = errors.New("unusable key")
)
