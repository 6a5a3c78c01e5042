package registry

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Keys are an inner matter, so this test stands within: names of all that ever led out
// of a folder somewhere go to the parsers, and what they let through to the builders.

// atoms are what hostile names are made of; honest ones stand among them, for a name
// that is hostile throughout is refused at its first byte.
var atoms = []string{
	// other folders
	"..", ".", "/", "//", "/../", "../", "/./", "\\", "..\\", "\\..\\", "/..", "....//", "..;/", ".../", "~", "~root",
	// escapes, once and more often, overlong and of other alphabets
	"%2e", "%2E%2e", "%2f", "%5c", "%252e", "%252f", "%25252e", "%00", "%0a", "%0d%0a", "%c0%ae", "%c0%af", "%u002e", "%ef%bc%8f", "&#46;", "\\u002e", "\\x2e", "=2E",
	"\xc0\xae", "\xc0\xaf", "\xe0\x80\xaf", "\xff", "\xed\xa0\x80", "\x80", "\xf4\x90\x80\x80",
	// what ends a text or a line, turns it, or is not seen
	"\x00", "\n", "\r\n", "\t", "\x1b[31m", "\x7f", "\u0085", "\u2028", "\u202e", "\u200b", "\u00ad", "\ufeff", " ", "\u00a0", "\u3000",
	// looks like another, or becomes one when it is normalised
	"\u2024", "\u2025", "\uff0e", "\uff0f", "\uff3c", "\u2044", "\u2215", "\u29f5", "\u0430", "\u0455", "\u0391", "\u017f", "\u212a", "\u0130", "\u0131",
	"\uff41", "\u1d43", "\u00e9", "e\u0301", "\u2177", "\u00df", "\u01c6", "\ufb01", "\U0001d41a",
	// other schemes, drives, streams and shells
	":", "::$DATA", "c:", "\\\\?\\", "\\??\\", "file:", "s3://", "http://", "dbfs:", "@", "#", "?", ";", "&", "*", "|", "$(x)", "`x`", "'", "\"", "<", ">", "{}", ",", "+", "=", "^",
	// what means something here
	"_system", "_system/keys", "_tenant.json", "_model.json", "_versions", "_versions/999999/992-7", "_labels/", "_aliases/", "_uploads/", "_operations/", "_trash/1-2", "_audit/", "_keys",
	"0123456789", "zzzzzzzzzz", "ilou000000", "_all", "_epoch.json", "_used/0123456789.json", "_tenants/acme/0123456789.json", "_tenants/_all/0123456789.json", "0123456789.json", "mbk_a0123456789_", "mbk_",
	"metadata.json", "/metadata.json", "METADATA.JSON", "metadata.json/", ".json", ".attributes", ".tombstone", ".~", "latest", "LATEST", "@champion", ":7", "@", "0", "7", "007", "999999999", "1000000000", "-1", "1e3", "0x7",
	".0199c2f0-1234-7abc-8def-0123456789ab", ".0199C2F0-1234-7ABC-8DEF-0123456789AB", "0199c2f0-1234-4abc-8def-0123456789ab",
	// devices, and what else is honest
	"con", "NUL", "aux.txt", "lpt1", "acme", "bolt", "fraud", "model", "v1.0", "champion", "model.joblib", "a", "B", "z", "-", "_", ".", "x y", "a/b",
}

// hostileNames makes names, each by chance: atoms in a row, an honest name that was
// changed at one place, or one as long as is allowed, or a little longer.
type hostileNames struct {
	r *rand.Rand
	b []byte
}

func (h *hostileNames) next() string {
	h.b = h.b[:0]
	switch kind := h.r.IntN(8); kind {
	case 0, 1: // only honest letters, of any form
		for range 1 + h.r.IntN(12) {
			h.b = append(h.b, "abcxyzABCXYZ0123456789._-_.-"[h.r.IntN(28)])
		}
	case 2: // of a length at a limit
		for range []int{62, 63, 64, 127, 128, 129, 199, 200, 201, 255, 699, 700, 701}[h.r.IntN(13)] {
			h.b = append(h.b, "abz019._-/"[min(9, h.r.IntN(60))])
		}
	case 3: // one byte anywhere
		h.b = append(h.b, []string{"acme", "fraud", "v1.0", "champion", "model.joblib", "acme/fraud:7", "acme/fraud@champion", "a/b c/d"}[h.r.IntN(8)]...)
		h.b[h.r.IntN(len(h.b))] = byte(h.r.IntN(256))
	case 4: // an atom within an honest name
		honest := []string{"acme", "fraud", "v1.0", "champion", "model.joblib", "sub/model.joblib", "20261124_083000"}[h.r.IntN(7)]
		at := h.r.IntN(len(honest) + 1)
		h.b = append(append(append(h.b, honest[:at]...), atoms[h.r.IntN(len(atoms))]...), honest[at:]...)
	default:
		for range 1 + h.r.IntN(5) {
			h.b = append(h.b, atoms[h.r.IntN(len(atoms))]...)
		}
	}
	return string(h.b)
}

// within tells what is wrong with a key that is to lie below a prefix, or "".
func within(prefix, key string) string {
	rest, ok := strings.CutPrefix(key, prefix)
	switch {
	case !ok:
		return "lies outside"
	case rest == "":
		return "is the prefix itself"
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return "has a segment that leads elsewhere"
		}
		if len(segment) > 254 {
			return "has a segment that a folder cannot have"
		}
	}
	for i := range len(key) {
		c := key[i]
		if c <= 0x20 && c != ' ' || c >= 0x7f || strings.IndexByte(`\%:;?#*|<>"'`, c) >= 0 {
			return fmt.Sprintf("has the byte %q", c)
		}
	}
	return ""
}

// trial is what names have come to so far.
type trial struct {
	tried, accepted, keys, outside atomic.Int64
}

// try gives a name to every parser, and what they make of it to the builders. It
// returns what is wrong.
func (c *trial) try(name string) string {
	accepted := false
	fail := ""
	holds := func(s series, key string, want location) {
		c.keys.Add(1)
		accepted = true
		why := within(s.prefix(), key)
		if got := s.locate(key); why == "" && got != want {
			why = fmt.Sprintf("is read back as %+v", got)
		}
		if why != "" && fail == "" {
			fail = fmt.Sprintf("the key %q of %s %s", key, s, why)
		}
	}
	holdsKey := func(key string, want location) {
		c.keys.Add(1)
		accepted = true
		why := within(keysPrefix, key)
		if got := locateKey(key); why == "" && got != want {
			why = fmt.Sprintf("is read back as %+v", got)
		}
		if why != "" && fail == "" {
			fail = fmt.Sprintf("the key %q of an API key %s", key, why)
		}
	}
	const id = ID("v1.0199c2f0-1234-7abc-8def-0123456789ab")
	usual := series{"acme", "fraud"}
	if t, err := ParseTenant(name); err == nil {
		s := series{t, "fraud"}
		if string(t) != name || strings.ContainsAny(name, "/.") || name[0] == '_' || within(tenantPrefix(t), tenantKey(t)) != "" {
			fail = fmt.Sprintf("it is the tenant %q", t)
		}
		holds(s, s.recordKey(7), location{kind: kindRecord, number: 7})
		holdsKey(keyListKey(t, "0123456789"), location{kind: kindKeyEntry, name: "0123456789", tenant: t})
	}
	if k, err := ParseKeyID(name); err == nil {
		holdsKey(keyKey(k), location{kind: kindKey, name: name})
		holdsKey(keyUseKey(k), location{kind: kindKeyUse, name: name})
		holdsKey(keyListKey("acme", k), location{kind: kindKeyEntry, name: name, tenant: "acme"})
		holdsKey(keyListKey("", k), location{kind: kindKeyEntry, name: name})
	}
	if m, err := ParseModel(name); err == nil {
		s := series{"acme", m}
		if string(m) != name || within(tenantPrefix("acme"), s.modelKey()) != "" || strings.Count(s.modelKey(), "/") != 2 {
			fail = fmt.Sprintf("it is the model %q", m)
		}
		holds(s, s.modelKey(), location{kind: kindModel})
		holds(s, s.fileKey(id, "model.joblib"), location{kind: kindFile, id: id, file: "model.joblib"})
	}
	if l, err := ParseLabel(name); err == nil {
		holds(usual, usual.labelKey(l), location{kind: kindLabel, name: name})
		made := ID(name + ".0199c2f0-1234-7abc-8def-0123456789ab")
		holds(usual, usual.metadataKey(made), location{kind: kindMetadata, id: made})
	}
	if a, err := ParseAlias(name); err == nil {
		holds(usual, usual.aliasKey(a), location{kind: kindAlias, name: name})
	}
	if made, err := ParseID(name); err == nil {
		holds(usual, usual.intentKey(made), location{kind: kindIntent, id: ID(name)})
		holds(usual, usual.metadataKey(made), location{kind: kindMetadata, id: ID(name)})
	}
	if f, err := ParseFileName(name); err == nil {
		holds(usual, usual.fileKey(id, f), location{kind: kindFile, id: id, file: FileName(name)})
	}
	if n, err := ParseNumber(name); err == nil {
		holds(usual, usual.recordKey(n), location{kind: kindRecord, number: n})
		if n.String() != name {
			fail = fmt.Sprintf("it is the number %d, which is written otherwise", n)
		}
	}
	if sel, err := ParseSelector(name); err == nil && name != "" && sel.String() != name {
		fail = fmt.Sprintf("it is the version %s", sel)
	}
	if r, err := ParseRef(name); err == nil {
		s := series{r.Tenant, r.Model}
		holds(s, s.modelKey(), location{kind: kindModel})
		if again, err := ParseRef(r.String()); err != nil || again != r {
			fail = fmt.Sprintf("it is the reference %s, which is another", r)
		}
	}
	// What is read from the bucket is as hostile: a key is one of ours, or foreign.
	if l := usual.locate(usual.prefix() + name); l.kind != kindForeign {
		accepted = true
		if why := within(usual.prefix(), usual.prefix()+name); why != "" {
			fail = fmt.Sprintf("as a key it is %+v, which %s", l, why)
		}
	}
	if l := locateKey(keysPrefix + name); l.kind != kindForeign {
		accepted = true
		if why := within(keysPrefix, keysPrefix+name); why != "" {
			fail = fmt.Sprintf("as an object of API keys it is %+v, which %s", l, why)
		}
	}
	if token, ok := ParseToken(name); ok && (len(name) != tokenLength || keyKey(token.ID) != keysPrefix+name[5:15]+".json") {
		fail = fmt.Sprintf("it is a token of the key %s", token.ID)
	}
	c.tried.Add(1)
	if accepted {
		c.accepted.Add(1)
	}
	if fail != "" {
		c.outside.Add(1)
	}
	return fail
}

// TestHostileNames: no name leads out of its tenant, its model or its folder, none is
// read in two ways, and none stands for what another stands for.
func TestHostileNames(t *testing.T) {
	const chunk = 50_000
	chunks := uint64(20)
	if os.Getenv("MODELBUCKET_TEST_LONG") == "1" {
		chunks = 2000
	}
	var c trial
	var next atomic.Uint64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for seed := next.Add(1); seed <= chunks && !t.Failed(); seed = next.Add(1) {
				names := hostileNames{r: rand.New(rand.NewPCG(seed, 0))}
				for range chunk {
					name := names.next()
					if why := c.try(name); why != "" {
						t.Errorf("seed %d: %q: %s", seed, name, why)
						break
					}
				}
			}
		})
	}
	all.Wait()
	if c.accepted.Load() < c.tried.Load()/20 || c.accepted.Load() > c.tried.Load()*4/5 {
		t.Errorf("of %d names %d were accepted: too few or too many to tell anything", c.tried.Load(), c.accepted.Load())
	}
	t.Logf("names.tried %d names.accepted %d names.keys %d names.outside %d, seeds 1 to %d of %d names each",
		c.tried.Load(), c.accepted.Load(), c.keys.Load(), c.outside.Load(), chunks, chunk)
}
