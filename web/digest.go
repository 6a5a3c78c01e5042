package web

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// declaredDigest is the SHA-256 that the sender declared, in hex: in a Repr-Digest
// header (RFC 9530), or as hex, or in both alike; "" where he declared none.
func declaredDigest(header, hexed string) (string, error) {
	if hexed != "" {
		if raw, err := hex.DecodeString(hexed); err != nil || len(raw) != 32 {
			return "", problemf(codeBadRequest, "the declared SHA-256 is %s; it has 64 hex digits", shown(hexed))
		}
		hexed = strings.ToLower(hexed)
	}
	for field := range strings.SplitSeq(header, ",") {
		value, ok := strings.CutPrefix(strings.TrimSpace(field), "sha-256=:")
		if !ok {
			continue // another algorithm
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(value, ":"))
		if err != nil || len(raw) != 32 {
			return "", problemf(codeBadRequest, "Repr-Digest cannot be read").hint("it looks like sha-256=:<the 32 bytes in base64>:")
		}
		sum := hex.EncodeToString(raw)
		if hexed != "" && hexed != sum {
			return "", problemf(codeBadRequest, "two different SHA-256 are declared: %s and %s", hexed, sum)
		}
		hexed = sum
	}
	return hexed, nil
}
