package web

import (
	"errors"
	"strconv"
)

var errKeyForm = errors.New("an Idempotency-Key has 1 to 256 printable ASCII characters")

// idempotencyKey is the request's own key, or "".
func (c *call) idempotencyKey() (string, error) {
	keys := c.r.Header.Values("Idempotency-Key")
	switch {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1:
		return "", problemf(codeBadRequest, "there are %d Idempotency-Key headers", len(keys)).hint("send one")
	}
	if n := len(keys[0]); n == 0 || n > 256 {
		return "", problemf(codeBadRequest, "the Idempotency-Key has %d characters", n).hint("%v; a UUID is a good one", errKeyForm)
	}
	for _, b := range []byte(keys[0]) {
		if b < 0x20 || b > 0x7e {
			return "", problemf(codeBadRequest, "the Idempotency-Key has the byte %s", strconv.QuoteToASCII(string(b))).hint("%v; a UUID is a good one", errKeyForm)
		}
	}
	return keys[0], nil
}
