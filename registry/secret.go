package registry

import (
	"fmt"
	"io"
)

// Secret is text for one pair of eyes. However it is printed, logged or encoded, it shows
// as stars; only Reveal gives it out.
type Secret string

// Reveal is the text itself.
func (s Secret) Reveal() string { return string(s) }

func (Secret) String() string { return "***" }

// Format covers every verb of fmt, %#v too; log/slog and encoding/json ask for the text.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
