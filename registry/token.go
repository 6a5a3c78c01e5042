package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"hash/crc32"
	"regexp"
	"strings"
)

// A token of an API key is
//
//	mbk_<letter of the role><id>_<secret>_<check>
//
// where id is 10 digits of Crockford's base 32, secret 32 random bytes in base64url, and
// check the CRC-32 of what stands before it in 6 digits of base 62. A typing error needs
// no call to be found, and the whole can be found where it should not be:
//
//	mbk_[srwpoa][0-9a-hjkmnp-tv-z]{10}_[A-Za-z0-9_-]{43}_[0-9A-Za-z]{6}
const (
	tokenPrefix  = "mbk_"
	tokenSecret  = 43
	tokenCheck   = 6
	tokenChecked = len(tokenPrefix) + 1 + keyIDLength + 1 + tokenSecret
	tokenLength  = tokenChecked + 1 + tokenCheck

	crockford = "0123456789abcdefghjkmnpqrstvwxyz"
	base62    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// tokenLike finds what may be a token in text.
var tokenLike = regexp.MustCompile(`mbk_[A-Za-z0-9_-]{8,}`)

// HideTokens is text without the tokens in it: somebody may have put one where a name
// belongs. What is a name stays one.
func HideTokens(s string) string {
	if !strings.Contains(s, tokenPrefix) { // which is quicker to see
		return s
	}
	return tokenLike.ReplaceAllString(s, "mbk_hidden")
}

// Token is what is known of a token once it was looked at: the secret is not kept.
type Token struct {
	ID     KeyID
	digest [sha256.Size]byte
}

// ParseToken tells whether text has the form of a token, and takes it apart. It says
// nothing of whether there is such a key.
func ParseToken(text string) (Token, bool) {
	if len(text) != tokenLength || !strings.HasPrefix(text, tokenPrefix) {
		return Token{}, false
	}
	check := tokenChecksum(text[:tokenChecked])
	if text[tokenChecked:] != string(check[:]) {
		return Token{}, false
	}
	letter, id := text[len(tokenPrefix)], text[len(tokenPrefix)+1:][:keyIDLength]
	secret := text[tokenChecked-tokenSecret : tokenChecked]
	if strings.IndexByte("srwpoa", letter) < 0 || !isKeyID(id) || text[tokenChecked-tokenSecret-1] != '_' || !isBase64(secret) {
		return Token{}, false
	}
	var b [tokenLength]byte // on the stack: requests are many
	copy(b[:], text)
	return Token{KeyID(id), sha256.Sum256(b[:])}, true
}

func isBase64(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// tokenChecksum is "_" and the check of what stands before it.
func tokenChecksum(text string) (check [1 + tokenCheck]byte) {
	sum := ^uint32(0)
	for i := range len(text) { // crc32.ChecksumIEEE would have it on the heap
		sum = crc32.IEEETable[byte(sum)^text[i]] ^ sum>>8
	}
	sum = ^sum
	check[0] = '_'
	for i := tokenCheck; i > 0; i-- {
		check[i] = base62[sum%62]
		sum /= 62
	}
	return check
}

// newToken makes a key's id and its token.
func newToken(role Role) (KeyID, Secret) {
	var random [keyIDLength + sha256.Size]byte
	_, _ = rand.Read(random[:]) // never fails
	var id [keyIDLength]byte
	for i := range id {
		id[i] = crockford[random[i]%32]
	}
	text := tokenPrefix + string(role.Letter()) + string(id[:]) + "_" + base64.RawURLEncoding.EncodeToString(random[keyIDLength:])
	check := tokenChecksum(text)
	return KeyID(id[:]), Secret(text + string(check[:]))
}
