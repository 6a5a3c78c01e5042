package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
)

// RootToken is the key to everything, known by its SHA-256 only.
type RootToken struct {
	// Made is the token itself where this call made it, and the only time that it is
	// to be had; else empty.
	Made   string
	digest [sha256.Size]byte
}

// Is tells in constant time whether the presented token is the root token.
func (t RootToken) Is(presented string) bool {
	sum := sha256.Sum256([]byte(presented))
	return subtle.ConstantTimeCompare(sum[:], t.digest[:]) == 1
}

// IsToken is Is for a token that was looked at already.
func (t RootToken) IsToken(presented Token) bool {
	return subtle.ConstantTimeCompare(presented.digest[:], t.digest[:]) == 1
}

type rootTokenBody struct {
	SHA256 string `json:"sha256"`
}

// RootToken returns the root token: the given one, or where none is given the one that
// all nodes of the bucket share, which the first call makes. The given one is not kept.
func (r *Registry) RootToken(ctx context.Context, given string) (RootToken, error) {
	if given != "" {
		return RootToken{digest: sha256.Sum256([]byte(given))}, nil
	}
	var body rootTokenBody
	_, err := r.read(ctx, rootTokenKey, &body)
	switch {
	case err == nil:
		return parseRootToken(body)
	case !isNotFound(err):
		return RootToken{}, err
	}
	if err := r.writable(); err != nil {
		return RootToken{}, fmt.Errorf("make the root token: %w", err)
	}
	made := "mbk_root_" + rand.Text()
	digest := sha256.Sum256([]byte(made))
	data, err := seal(rootTokenKey, rootTokenBody{SHA256: hex.EncodeToString(digest[:])})
	if err != nil {
		return RootToken{}, err
	}
	theirs, err := r.create(ctx, rootTokenKey, data)
	switch {
	case err != nil:
		return RootToken{}, fmt.Errorf("make the root token: %w", err)
	case theirs == nil:
		return RootToken{Made: made, digest: digest}, nil
	}
	if err := unseal(rootTokenKey, theirs, &body); err != nil {
		return RootToken{}, err
	}
	return parseRootToken(body)
}

func parseRootToken(body rootTokenBody) (RootToken, error) {
	raw, err := hex.DecodeString(body.SHA256)
	if err != nil || len(raw) != sha256.Size {
		return RootToken{}, corrupt(rootTokenKey, "holds no SHA-256")
	}
	return RootToken{digest: [sha256.Size]byte(raw)}, nil
}
