package signature_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"modelbucket/registry/signature"
)

// forger holds a trusted key, and signs with it whatever a test wants: what a verifier
// must refuse although the key is right.
type forger struct {
	t   testing.TB
	key *ecdsa.PrivateKey
}

func newForger(t testing.TB) forger {
	t.Helper()
	block, _ := pem.Decode(read(t, "keys/P-256.pem"))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return forger{t, key.(*ecdsa.PrivateKey)}
}

// object is a JSON object that is put together field by field.
type object = map[string]any

func (f forger) sign(message []byte) []byte {
	sum := sha256.Sum256(message)
	sig, err := f.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		f.t.Fatal(err)
	}
	return sig
}

const payloadType = "application/vnd.in-toto+json"

func pae(kind string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload)
}

// statement is in order for the model; tests change it.
func (f forger) statement() object {
	resources := []any{}
	var all []byte
	for _, file := range model(f.t) {
		raw, err := hex.DecodeString(file.SHA256)
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, raw...)
		resources = append(resources, object{"name": file.Name, "algorithm": "sha256", "digest": file.SHA256})
	}
	root := sha256.Sum256(all)
	return object{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{object{"name": "model", "digest": object{"sha256": hex.EncodeToString(root[:])}}},
		"predicateType": "https://model_signing/signature/v1.0",
		"predicate": object{
			"serialization": object{"method": "files", "hash_type": "sha256", "allow_symlinks": false},
			"resources":     resources,
		},
	}
}

// bundle puts payload and signature into a bundle; tests change it.
func (f forger) bundle(payload, sig []byte) object {
	return object{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": object{"publicKey": object{"hint": keyID(f.t, "P-256.pub")}, "tlogEntries": []any{}},
		"dsseEnvelope": object{
			"payload": base64.StdEncoding.EncodeToString(payload), "payloadType": payloadType,
			"signatures": []any{object{"sig": base64.StdEncoding.EncodeToString(sig), "keyid": ""}},
		},
	}
}

func (f forger) encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		f.t.Fatal(err)
	}
	return data
}

// signed is the bundle of a payload, rightly signed.
func (f forger) signed(payload []byte) object {
	return f.bundle(payload, f.sign(pae(payloadType, payload)))
}

func at(o object, path ...string) object {
	for _, name := range path {
		o = o[name].(object)
	}
	return o
}

// What stands in a statement is refused where it is not exactly what it should be, though
// the trusted key has signed it.
func TestHostileStatements(t *testing.T) {
	f := newForger(t)
	resource := func(s object, i int) object { return at(s, "predicate")["resources"].([]any)[i].(object) }
	tests := []struct {
		name   string
		change func(s object) any // what is signed instead
		want   error
	}{
		{"nothing", func(s object) any { return s }, nil},
		{"fields to be ignored", func(s object) any {
			s["annotations"], at(s, "predicate")["model_card"] = object{"a": 1}, "x"
			at(s, "predicate", "serialization")["ignore_paths"] = []string{"model.joblib", "/", ".."}
			return s
		}, nil},
		{"unknown predicate", func(s object) any { s["predicateType"] = "https://slsa.dev/provenance/v1"; return s }, signature.ErrMalformed},
		{"predicate of the future", func(s object) any { s["predicateType"] = "https://model_signing/signature/v1.1"; return s }, signature.ErrMalformed},
		{"predicate of the past", func(s object) any { s["predicateType"] = "https://model_signing/Digests/v0.1"; return s }, signature.ErrMalformed},
		{"no predicate type", func(s object) any { delete(s, "predicateType"); return s }, signature.ErrMalformed},
		{"no predicate", func(s object) any { delete(s, "predicate"); return s }, signature.ErrMalformed},
		{"predicate is a list", func(s object) any { s["predicate"] = []int{}; return s }, signature.ErrMalformed},
		{"unknown statement", func(s object) any { s["_type"] = "https://in-toto.io/Statement/v0.1"; return s }, signature.ErrMalformed},
		{"no subject", func(s object) any { s["subject"] = []any{}; return s }, signature.ErrMalformed},
		{"two subjects", func(s object) any { s["subject"] = append(s["subject"].([]any), object{"name": "b"}); return s }, signature.ErrMalformed},
		{"subject of other files", func(s object) any {
			s["subject"] = []any{object{"digest": object{"sha256": strings.Repeat("0", 64)}}}
			return s
		}, signature.ErrMalformed},
		{"subject with another digest", func(s object) any {
			s["subject"] = []any{object{"digest": object{"sha512": strings.Repeat("0", 128)}}}
			return s
		}, signature.ErrMalformed},
		{"shards", func(s object) any { at(s, "predicate", "serialization")["method"] = "shards"; return s }, signature.ErrMalformed},
		{"blake3", func(s object) any { at(s, "predicate", "serialization")["hash_type"] = "blake3"; return s }, signature.ErrMalformed},
		{"a file with blake2b", func(s object) any { resource(s, 1)["algorithm"] = "blake2b"; return s }, signature.ErrMalformed},
		{"a digest in upper case", func(s object) any {
			resource(s, 1)["digest"] = strings.ToUpper(resource(s, 1)["digest"].(string))
			return s
		}, signature.ErrMalformed},
		{"a digest cut", func(s object) any { resource(s, 1)["digest"] = resource(s, 1)["digest"].(string)[:62]; return s }, signature.ErrMalformed},
		{"a file twice", func(s object) any { resource(s, 1)["name"] = resource(s, 0)["name"]; return s }, signature.ErrMalformed},
		{"no files", func(s object) any {
			at(s, "predicate")["resources"] = []any{}
			sum := sha256.Sum256(nil)
			s["subject"] = []any{object{"digest": object{"sha256": hex.EncodeToString(sum[:])}}}
			return s
		}, signature.ErrMalformed},
		{"too many files", func(s object) any {
			var many []any
			var all []byte
			for i := range 10_001 {
				many = append(many, object{"name": fmt.Sprint(i), "algorithm": "sha256", "digest": strings.Repeat("0", 64)})
				all = append(all, make([]byte, 32)...)
			}
			sum := sha256.Sum256(all)
			at(s, "predicate")["resources"] = many
			s["subject"] = []any{object{"digest": object{"sha256": hex.EncodeToString(sum[:])}}}
			return s
		}, signature.ErrMalformed},
		{"a name of a path elsewhere", func(s object) any { resource(s, 1)["name"] = "../" + resource(s, 1)["name"].(string); return s }, signature.ErrMismatch},
		{"a name with a dot before", func(s object) any { resource(s, 1)["name"] = "./" + resource(s, 1)["name"].(string); return s }, signature.ErrMismatch},
		{"another case of a name", func(s object) any { resource(s, 0)["name"] = "Model.joblib"; return s }, signature.ErrMismatch},
		{"no object", func(object) any { return []int{1} }, signature.ErrMalformed},
		{"null", func(object) any { return nil }, signature.ErrMalformed},
		{"a number for a name", func(s object) any { resource(s, 1)["name"] = 7; return s }, signature.ErrMalformed},
	}
	t.Logf("signature.statements %d", len(tests))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data := f.encode(f.signed(f.encode(test.change(f.statement()))))
			_, err := verify(data, trust(t, "P-256.pub"), model(t))
			if !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
		})
	}
}

// The same for what JSON itself allows, and who reads it takes this way or that.
func TestHostileJSON(t *testing.T) {
	f := newForger(t)
	right := string(f.encode(f.statement()))
	for name, payload := range map[string]string{
		"a key twice":                 strings.Replace(right, `"_type"`, `"predicateType":"x","_type"`, 1),
		"a key in another case":       strings.Replace(right, `"predicateType"`, `"PredicateType"`, 1),
		"a document behind":           right + right,
		"a byte behind":               right + "x",
		"a byte order mark":           "\uFEFF" + right,
		"no UTF-8":                    strings.Replace(right, "model.joblib", "model\xff.joblib", 1),
		"cut":                         right[:len(right)-1],
		"nested":                      strings.Repeat("[", 1_000_000),
		"nested where it is not read": strings.Replace(right, `"_type"`, `"deep":`+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000)+`,"_type"`, 1),
		"a number of a megabyte":      strings.Replace(right, `"_type"`, `"n":`+strings.Repeat("9", 1_000_000)+`x,"_type"`, 1),
	} {
		began := time.Now()
		_, err := verify(f.encode(f.signed([]byte(payload))), trust(t, "P-256.pub"), model(t))
		if !errors.Is(err, signature.ErrMalformed) {
			t.Errorf("%s: got error %v", name, err)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

func TestHostileBundles(t *testing.T) {
	f := newForger(t)
	payload := f.encode(f.statement())
	sig := f.sign(pae(payloadType, payload))
	signatures := func(b object) []any { return at(b, "dsseEnvelope")["signatures"].([]any) }
	setSig := func(b object, raw []byte) object {
		signatures(b)[0].(object)["sig"] = base64.StdEncoding.EncodeToString(raw)
		return b
	}
	certificates := func(names ...string) []any {
		var all []any
		for _, name := range names {
			block, _ := pem.Decode(read(t, "keys/"+name))
			all = append(all, object{"rawBytes": block.Bytes})
		}
		return all
	}
	chain := func(b object, certificates []any) object {
		b["verificationMaterial"] = object{"x509CertificateChain": object{"certificates": certificates}}
		return b
	}
	der := func(r, s []byte) []byte {
		body := append(append([]byte{2, byte(len(r))}, r...), append([]byte{2, byte(len(s))}, s...)...)
		return append([]byte{0x30, byte(len(body))}, body...)
	}
	order := f.key.Curve.Params().N.Bytes()
	tests := []struct {
		name   string
		change func(b object) any
		want   error
	}{
		{"nothing", func(b object) any { return b }, nil},
		{"no hint", func(b object) any { at(b, "verificationMaterial")["publicKey"] = object{}; return b }, nil},
		{"time stamps, to be read over", func(b object) any {
			at(b, "verificationMaterial")["timestampVerificationData"] = object{"rfc3161Timestamps": []any{}}
			return b
		}, nil},
		{"another hint", func(b object) any {
			at(b, "verificationMaterial", "publicKey")["hint"] = keyID(t, "P-384.pub")
			return b
		}, signature.ErrUntrusted},
		{"a hint of a megabyte", func(b object) any {
			at(b, "verificationMaterial", "publicKey")["hint"] = strings.Repeat("a", 1<<20)
			return b
		}, signature.ErrMalformed},
		{"the media type of another bundle", func(b object) any {
			b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1"
			return b
		}, signature.ErrMalformed},
		{"another payload type", func(b object) any { at(b, "dsseEnvelope")["payloadType"] = "application/json"; return b }, signature.ErrMalformed},
		{"signed as another type", func(b object) any { return setSig(b, f.sign(pae("application/json", payload))) }, signature.ErrForged},
		{"signed without a head", func(b object) any { return setSig(b, f.sign(payload)) }, signature.ErrForged},
		{"signed as another length", func(b object) any {
			return setSig(b, f.sign(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload)-1, payload)))
		}, signature.ErrForged},
		{"signed for other bytes of the same JSON", func(b object) any {
			at(b, "dsseEnvelope")["payload"] = base64.StdEncoding.EncodeToString(append([]byte(" "), payload...))
			return b
		}, signature.ErrForged},
		{"signed by another key", func(b object) any {
			other := signer(t, "signer.pem")
			data := object{}
			if err := json.Unmarshal(sign(t, other), &data); err != nil {
				t.Fatal(err)
			}
			at(data, "verificationMaterial", "publicKey")["hint"] = keyID(t, "P-256.pub")
			return data
		}, signature.ErrForged},
		{"signature all zero", func(b object) any { return setSig(b, make([]byte, 70)) }, signature.ErrForged},
		{"r and s zero", func(b object) any { return setSig(b, der([]byte{0}, []byte{0})) }, signature.ErrForged},
		{"r and s the order", func(b object) any {
			return setSig(b, der(append([]byte{0}, order...), append([]byte{0}, order...)))
		}, signature.ErrForged},
		{"a byte behind the ASN.1", func(b object) any { return setSig(b, append(append([]byte{}, sig...), 0)) }, signature.ErrForged},
		{"ASN.1 with a length too long", func(b object) any {
			return setSig(b, append([]byte{0x30, 0x81, sig[1]}, sig[2:]...))
		}, signature.ErrForged},
		{"r and s bare", func(b object) any {
			return setSig(b, append(big.NewInt(1).FillBytes(make([]byte, 32)), big.NewInt(1).FillBytes(make([]byte, 32))...))
		}, signature.ErrForged},
		{"signature too long", func(b object) any { return setSig(b, make([]byte, 1<<20)) }, signature.ErrMalformed},
		{"signature empty", func(b object) any { return setSig(b, nil) }, signature.ErrMalformed},
		{"no signature", func(b object) any { at(b, "dsseEnvelope")["signatures"] = []any{}; return b }, signature.ErrMalformed},
		{"two signatures", func(b object) any {
			at(b, "dsseEnvelope")["signatures"] = append(signatures(b), signatures(b)[0])
			return b
		}, signature.ErrMalformed},
		{"a thousand signatures", func(b object) any {
			many := make([]any, 1000)
			for i := range many {
				many[i] = signatures(b)[0]
			}
			at(b, "dsseEnvelope")["signatures"] = many
			return b
		}, signature.ErrMalformed},
		{"base64 with a line break", func(b object) any {
			text := at(b, "dsseEnvelope")["payload"].(string)
			at(b, "dsseEnvelope")["payload"] = text[:76] + "\n" + text[76:]
			return b
		}, signature.ErrMalformed},
		{"base64 for URLs", func(b object) any {
			signatures(b)[0].(object)["sig"] = "-_" + signatures(b)[0].(object)["sig"].(string)[2:]
			return b
		}, signature.ErrMalformed},
		{"base64 with bits behind its end", func(b object) any {
			signatures(b)[0].(object)["sig"] = "AB=="
			return b
		}, signature.ErrMalformed},
		{"an unknown field", func(b object) any { b["trusted"] = true; return b }, signature.ErrMalformed},
		{"an unknown field of the envelope", func(b object) any { at(b, "dsseEnvelope")["alg"] = "none"; return b }, signature.ErrMalformed},
		{"a message signature instead", func(b object) any {
			b["messageSignature"] = object{"signature": sig}
			delete(b, "dsseEnvelope")
			return b
		}, signature.ErrMalformed},
		{"no material", func(b object) any { b["verificationMaterial"] = object{}; return b }, signature.ErrMalformed},
		{"key and certificates", func(b object) any {
			at(b, "verificationMaterial")["x509CertificateChain"] = object{"certificates": certificates("signer.crt")}
			return b
		}, signature.ErrMalformed},
		{"a Sigstore identity", func(b object) any {
			b["verificationMaterial"] = object{"certificate": certificates("signer.crt")[0]}
			return b
		}, signature.ErrUntrusted},
		{"no certificates", func(b object) any { return chain(b, []any{}) }, signature.ErrMalformed},
		{"eleven certificates", func(b object) any {
			return chain(b, certificates(strings.Split(strings.Repeat("signer.crt ", 10)+"signer.crt", " ")...))
		}, signature.ErrMalformed},
		{"a certificate of a megabyte", func(b object) any { return chain(b, []any{object{"rawBytes": make([]byte, 1<<20)}}) }, signature.ErrMalformed},
		{"a certificate that is none", func(b object) any { return chain(b, []any{object{"rawBytes": []byte("certificate")}}) }, signature.ErrMalformed},
		{"another's certificate", func(b object) any { return chain(b, certificates("signer.crt", "authority.crt")) }, signature.ErrForged},
		{"the root in the chain", func(b object) any { return chain(b, certificates("root.crt")) }, signature.ErrForged},
		{"a certificate with a key on another curve", func(b object) any {
			key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			c := &x509.Certificate{SerialNumber: big.NewInt(1), KeyUsage: x509.KeyUsageDigitalSignature}
			der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
			if err != nil {
				t.Fatal(err)
			}
			return chain(b, []any{object{"rawBytes": der}})
		}, signature.ErrUntrusted},
		{"no object", func(object) any { return "bundle" }, signature.ErrMalformed},
		{"a list of bundles", func(b object) any { return []any{b} }, signature.ErrMalformed},
	}
	t.Logf("signature.bundles %d", len(tests))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data := f.encode(test.change(maps.Clone(f.bundle(payload, sig))))
			_, err := verify(data, trust(t, "P-256.pub", "root.crt"), model(t))
			if !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
	t.Run("too large", func(t *testing.T) {
		data := append(f.encode(f.bundle(payload, sig)), strings.Repeat(" ", signature.MaxBundle)...)
		if _, err := signature.Parse(data); !errors.Is(err, signature.ErrMalformed) {
			t.Errorf("got error %v", err)
		}
	})
	t.Run("empty", func(t *testing.T) {
		if _, err := signature.Parse(nil); !errors.Is(err, signature.ErrMalformed) {
			t.Errorf("got error %v", err)
		}
	})
}
