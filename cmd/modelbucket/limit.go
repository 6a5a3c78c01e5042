package main

import (
	"strconv"
	"strings"

	"modelbucket/registry"
)

// limitFlag is one limit, written name=value.
type limitFlag struct {
	name  registry.LimitName
	limit *registry.Limit // nil: default
}

func (f *limitFlag) UnmarshalText(text []byte) (err error) {
	f.name, f.limit, err = registry.ParseLimit(string(text))
	if err != nil {
		err = bareInvalid{err}
	}
	return err
}

// bareInvalid is an error for who called the program: what is wrong, without its kind.
type bareInvalid struct{ error }

func (e bareInvalid) Error() string {
	return strings.TrimPrefix(e.error.Error(), registry.ErrInvalid.Error()+": ")
}

// nodeLimits are what one tenant may do on a node, where it has no limits of its own. They
// leave the others theirs on two cores.
func nodeLimits() registry.Limits {
	return registry.Limits{
		registry.LimitRequests: 500,
		registry.LimitEvents:   25_000,
		registry.LimitBodyRate: 8 << 20,
		registry.LimitUploads:  4,
	}
}

// limitsOf are a node's limits with what its flags say.
func limitsOf(given []limitFlag) registry.Limits {
	limits := nodeLimits()
	for _, f := range given {
		limit, bounded := nodeLimits()[f.name]
		switch {
		case f.limit != nil:
			limits[f.name] = *f.limit
		case bounded:
			limits[f.name] = limit
		default:
			delete(limits, f.name)
		}
	}
	return limits
}

// limitNames are all the names, for the help.
func limitNames() string {
	var names []string
	for _, name := range registry.LimitNames() {
		names = append(names, string(name))
	}
	return strings.Join(names, ", ")
}

// addLimits tells what a tenant may do, and what it has.
func (p *program) addLimits(t *table, info *registry.TenantInfo) {
	if u := info.Usage; u != nil {
		t.add("versions", used(u.Versions, info.InForce.Of(registry.LimitVersions)))
		t.add("stored bytes", used(u.StoredBytes, info.InForce.Of(registry.LimitStoredBytes)))
	}
	for _, name := range registry.LimitNames() {
		own, set := info.Limits[name]
		limit, known := info.InForce[name]
		switch {
		case set:
			t.add("limit "+string(name), own.String())
		case known:
			t.add("limit "+string(name), limit.String()+" (of the node)")
		}
	}
}

// used is "3 of 10", or "3" where there is no limit.
func used(n int64, most registry.Limit) string {
	if most < 0 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10) + " of " + most.String()
}

// limitsText says for the help what there is, and what it is where no flag says.
func limitsText() string {
	limits := nodeLimits()
	var set, rest []string
	for _, name := range registry.LimitNames() {
		if limit, ok := limits[name]; ok {
			set = append(set, string(name)+"="+limit.String())
		} else {
			rest = append(rest, string(name))
		}
	}
	return "Default: " + strings.Join(set, ", ") + "; unlimited are " + strings.Join(rest, ", ") + "."
}
