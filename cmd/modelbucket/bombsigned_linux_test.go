package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// signatureBombs are signatures: documents within base64 within documents, that a node
// reads whole before it believes anything of them.
func signatureBombs() []bomb {
	const media = "application/vnd.dev.sigstore.bundle.v0.3+json"
	sign := func(name string, want int, body io.Reader) bomb {
		return bomb{name: name, method: "PUT", path: bombed + "/versions/1/signature", headers: []string{"Content-Type: " + media}, body: body, length: chunked, want: []int{want}}
	}
	text := strings.NewReader
	bundle := func(material, payload string) io.Reader {
		return text(`{"mediaType":"` + media + `","verificationMaterial":` + material + `,"dsseEnvelope":{"payload":"` + base64.StdEncoding.EncodeToString([]byte(payload)) +
			`","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA","keyid":""}]}}`)
	}
	const key = `{"publicKey":{"hint":""},"tlogEntries":[]}`
	statement := func(resources string) string {
		return `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"00"}}],"predicateType":"https://model_signing/signature/v1.0","predicate":{"serialization":{"method":"files","hash_type":"sha256","allow_symlinks":false},"resources":[` + resources + `]}}`
	}
	var files strings.Builder
	for i := range 12_000 {
		if i > 0 {
			files.WriteByte(',')
		}
		fmt.Fprintf(&files, `{"name":"%d","algorithm":"sha256","digest":"%064d"}`, i, i)
	}
	certificates := `{"x509CertificateChain":{"certificates":[{"rawBytes":"AAAA"}` + strings.Repeat(`,{"rawBytes":"AAAA"}`, 90_000) + `]}}`
	form := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"m\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"model.sig\"\r\n\r\n"
	return []bomb{
		sign("a signature without end", 413, forever(`{"mediaType":"`, "x")),
		sign("a signature a million deep", 422, many(1_000_000, "[")),
		sign("a signature with entries a million deep", 422, io.MultiReader(text(`{"verificationMaterial":{"tlogEntries":`), many(1_000_000, "["))),
		sign("a signature of 90,000 certificates", 422, bundle(certificates, "{}")),
		sign("a statement 600,000 deep", 422, bundle(key, `{"predicate":`+strings.Repeat("[", 600_000))),
		sign("a statement of 12,000 files", 422, bundle(key, statement(files.String()))),
		sign("a statement of half a million empty resources", 422, bundle(key, statement("{}"+strings.Repeat(",{}", 470_000)))),
		{name: "a signature without end, in a form", method: "POST", path: bombed + "/versions", headers: []string{"Content-Type: multipart/form-data; boundary=b"},
			body: forever(form+`{"mediaType":"`, "x"), length: chunked, want: []int{413, 422}},
	}
}
