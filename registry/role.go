package registry

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Role is what somebody is in a tenant. What a role may do is for who asks: here it is a
// name that keys carry.
type Role string

// The roles. An operator is one for all tenants; the others are so for one, or for all.
const (
	Scorer   Role = "scorer"   // asks detectors, and nothing else
	Reader   Role = "reader"   // sees everything, changes nothing
	Writer   Role = "writer"   // publishes and trains; what it made goes into use when a promoter says so
	Promoter Role = "promoter" // moves aliases, deletes versions
	Operator Role = "operator" // runs the place: tenants, keys, limits; neither scores nor reads files
	Admin    Role = "admin"    // all that can be done in a tenant
)

// Roles are all roles.
func Roles() []Role { return []Role{Scorer, Reader, Writer, Promoter, Operator, Admin} }

// Letter stands for the role in a token: no two roles share one. That of a name which is
// no role, as a newer program may have written it, is 0.
func (r Role) Letter() byte {
	switch r {
	case Scorer, Reader, Writer, Promoter, Operator, Admin:
		return r[0]
	}
	return 0
}

func ParseRole(s string) (Role, error) {
	if r := Role(s); slices.Contains(Roles(), r) {
		return r, nil
	}
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	var names []string
	for _, r := range Roles() {
		names = append(names, string(r))
	}
	return "", fmt.Errorf("%w: %s is no role; the roles are %s", ErrInvalid, strconv.QuoteToASCII(s), strings.Join(names, ", "))
}

func (r *Role) UnmarshalText(b []byte) error { return unmarshalText(r, ParseRole, b) }
