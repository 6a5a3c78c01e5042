package registry

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Here, and nowhere else, names become keys and keys become names again. The package
// comment shows them all.

const (
	metadataName = "metadata.json"
	// SignatureName is what the signature of a version is called, beside its files.
	SignatureName = "model.sig"

	formatKey    = "_system/format.json"
	rootTokenKey = "_system/root_token.json"
	systemPrefix = "_system/"
	gcPrefix     = systemPrefix + "gc/"
	probePrefix  = systemPrefix + "probe/"
	auditName    = "_audit"
	keysPrefix   = systemPrefix + "keys/"
	keyEpochKey  = keysPrefix + "_epoch.json"
	suffix       = ".json"
)

// series is a model of a tenant: the prefix below which all its keys lie.
type series struct {
	tenant Tenant
	model  Model
}

func (s series) String() string { return string(s.tenant) + "/" + string(s.model) }

func (s series) prefix() string   { return string(s.tenant) + "/" + string(s.model) + "/" }
func (s series) modelKey() string { return s.prefix() + "_model.json" }

func tenantPrefix(t Tenant) string { return string(t) + "/" }
func tenantKey(t Tenant) string    { return tenantPrefix(t) + "_tenant.json" }
func gcKey(id string) string       { return gcPrefix + id + suffix }

func keyKey(id KeyID) string    { return keysPrefix + string(id) + suffix }
func keyUseKey(id KeyID) string { return keysPrefix + "_used/" + string(id) + suffix }

// keyListPrefix is where the keys of a tenant are listed; "" is for those of all.
func keyListPrefix(t Tenant) string {
	return keysPrefix + "_tenants/" + string(cmp.Or(t, "_all")) + "/"
}
func keyListKey(t Tenant, id KeyID) string {
	return keyListPrefix(t) + string(id) + suffix
}

// auditPrefix is where the audit log of a tenant lies; "" is that of none.
func auditPrefix(t Tenant) string {
	if t == "" {
		return systemPrefix + "audit/"
	}
	return tenantPrefix(t) + auditName + "/"
}

// auditFolder is what the keys of a day begin with.
func auditFolder(t Tenant, at time.Time) string {
	at = at.UTC()
	return fmt.Sprintf("%s%05d-%s/", auditPrefix(t), lastAuditDay-at.Unix()/86400, at.Format(time.DateOnly))
}

// auditTime is what the keys of a moment begin with: a listing shows the newest first.
func auditTime(t Tenant, at time.Time) string {
	return fmt.Sprintf("%s%08d-", auditFolder(t, at), 86399999-at.UnixMilli()%86400000)
}

func (b auditID) key(t Tenant) string {
	return fmt.Sprintf("%s%s-%09d%s", auditTime(t, b.at), b.chain, b.seq, suffix)
}

const lastAuditDay = 99999 // in the year 2243

// auditID names a batch of the audit log: the seq-th of its chain, made at a time.
type auditID struct {
	at    time.Time
	chain string
	seq   int64
}

// locateAudit is the inverse of auditID.key.
func locateAudit(t Tenant, key string) (b auditID, ok bool) {
	day, name, _ := strings.Cut(strings.TrimPrefix(key, auditPrefix(t)), "/")
	_, date, _ := strings.Cut(day, "-")
	at, err := time.Parse(time.DateOnly, date)
	inverse, rest, _ := strings.Cut(strings.TrimSuffix(name, suffix), "-")
	dash := strings.LastIndexByte(rest, '-')
	if err != nil || dash != chainLength {
		return auditID{}, false
	}
	ms, err := strconv.ParseInt(inverse, 10, 32)
	seq, err2 := strconv.ParseInt(rest[dash+1:], 10, 32)
	if err != nil || err2 != nil || ms < 0 || seq < 1 || uuid.Validate(rest[:dash]) != nil {
		return auditID{}, false
	}
	b = auditID{at.Add(time.Duration(86399999-ms) * time.Millisecond), rest[:dash], seq}
	return b, b.key(t) == key
}

const chainLength = 36 // of a UUID

func (s series) folder(id ID) string                 { return s.prefix() + string(id) + "/" }
func (s series) metadataKey(id ID) string            { return s.folder(id) + metadataName }
func (s series) signatureKey(id ID) string           { return s.folder(id) + SignatureName }
func (s series) fileKey(id ID, name FileName) string { return s.folder(id) + string(name) }

func (s series) versionsPrefix() string { return s.prefix() + "_versions/" }

// stem is what all keys of one number begin with.
func (s series) stem(n Number) string {
	inverse := MaxNumber - n
	return fmt.Sprintf("%s%06d/%03d-%d", s.versionsPrefix(), inverse/1000, inverse%1000, n)
}
func (s series) recordKey(n Number) string     { return s.stem(n) + suffix }
func (s series) attributesKey(n Number) string { return s.stem(n) + ".attributes.json" }
func (s series) tombstoneKey(n Number) string  { return s.stem(n) + ".tombstone.json" }

// behind sorts after all keys of number n and before all of n−1.
func (s series) behind(n Number) string { return s.stem(n) + ".~" }

func (s series) labelsPrefix() string     { return s.prefix() + "_labels/" }
func (s series) labelKey(l Label) string  { return s.labelsPrefix() + string(l) + suffix }
func (s series) operationsPrefix() string { return s.prefix() + "_operations/" }
func (s series) aliasesPrefix() string    { return s.prefix() + "_aliases/" }
func (s series) aliasKey(a Alias) string  { return s.aliasesPrefix() + string(a) + suffix }
func (s series) uploadsPrefix() string    { return s.prefix() + "_uploads/" }
func (s series) intentKey(id ID) string   { return s.uploadsPrefix() + string(id) + suffix }
func (s series) trashPrefix() string      { return s.prefix() + "_trash/" }
func (s series) trashKey(a, b Number) string {
	return fmt.Sprintf("%s%d-%d%s", s.trashPrefix(), a, b, suffix)
}
func (s series) operationKey(operation string) string {
	return s.operationsPrefix() + operation + suffix
}

// operationName is what is kept of an idempotency key: it may hold anything.
func operationName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// past is the StartAfter that skips a folder of this name: "0" follows "/".
func past(prefix, name string) string { return prefix + name + "0" }

// segment is the last name of a folded prefix "acme/fraud/".
func segment(prefix string) string {
	prefix = strings.TrimSuffix(prefix, "/")
	return prefix[strings.LastIndexByte(prefix, '/')+1:]
}

// The kinds of objects below a model, and of those about API keys.
type kind int

const (
	kindForeign kind = iota // nothing that we would have written
	kindModel
	kindRecord
	kindAttributes
	kindTombstone
	kindLabel
	kindOperation
	kindAlias
	kindIntent
	kindTrash
	kindMetadata
	kindSignature
	kindFile
	kindKey
	kindKeyUse
	kindKeyEntry // of the list of a tenant's keys
	kindKeyEpoch
)

// location is a key in the bucket taken apart.
type location struct {
	kind   kind
	tenant Tenant   // of an API key's entry in a list; "": all
	number Number   // record, attributes, tombstone; first of a trash entry
	last   Number   // last of a trash entry
	name   string   // label, operation, alias; id of an API key
	id     ID       // intent, metadata, signature, file
	file   FileName // file
}

// locate is the inverse of the builders above. It accepts a key only in the very
// form in which they make it.
func (s series) locate(key string) location {
	rest, ok := strings.CutPrefix(key, s.prefix())
	if !ok {
		return location{}
	}
	if rest == "_model.json" {
		return location{kind: kindModel}
	}
	folder, name, ok := strings.Cut(rest, "/")
	if !ok {
		return location{}
	}
	stem, isJSON := strings.CutSuffix(name, suffix)
	if folder == "_versions" {
		return s.locateRecord(key, name)
	}
	if strings.HasPrefix(folder, "_") && (!isJSON || strings.Contains(stem, "/")) {
		return location{}
	}
	switch folder {
	case "_labels":
		if l, err := ParseLabel(stem); err == nil {
			return location{kind: kindLabel, name: string(l)}
		}
	case "_aliases":
		if a, err := ParseAlias(stem); err == nil {
			return location{kind: kindAlias, name: string(a)}
		}
	case "_operations":
		if b, err := hex.DecodeString(stem); err == nil && len(b) == sha256.Size && stem == strings.ToLower(stem) {
			return location{kind: kindOperation, name: stem}
		}
	case "_uploads":
		if id, err := ParseID(stem); err == nil {
			return location{kind: kindIntent, id: id}
		}
	case "_trash":
		a, b, ok := strings.Cut(stem, "-")
		first, err1 := ParseNumber(a)
		last, err2 := ParseNumber(b)
		if ok && err1 == nil && err2 == nil && first <= last {
			return location{kind: kindTrash, number: first, last: last}
		}
	default:
		id, err := ParseID(folder)
		if err != nil {
			return location{}
		}
		if name == metadataName {
			return location{kind: kindMetadata, id: id}
		}
		if name == SignatureName {
			return location{kind: kindSignature, id: id}
		}
		if f, err := ParseFileName(name); err == nil {
			return location{kind: kindFile, id: id, file: f}
		}
	}
	return location{}
}

// locateRecord reads "999999/992-7.json" and its siblings. That both numbers agree is
// seen by building the key again.
func (s series) locateRecord(key, name string) location {
	_, file, ok := strings.Cut(name, "/")
	_, tail, ok2 := strings.Cut(file, "-")
	text, _, _ := strings.Cut(tail, ".")
	n, err := strconv.ParseInt(text, 10, 64)
	if !ok || !ok2 || err != nil || n < 1 || Number(n) > MaxNumber {
		return location{}
	}
	l := location{number: Number(n)}
	switch key {
	case s.recordKey(l.number):
		l.kind = kindRecord
	case s.attributesKey(l.number):
		l.kind = kindAttributes
	case s.tombstoneKey(l.number):
		l.kind = kindTombstone
	default:
		return location{}
	}
	return l
}

// locateKey is locate for what lies below _system/keys/.
func locateKey(key string) location {
	if key == keyEpochKey {
		return location{kind: kindKeyEpoch}
	}
	id, err := ParseKeyID(strings.TrimSuffix(key[strings.LastIndexByte(key, '/')+1:], suffix))
	if err != nil {
		return location{}
	}
	l := location{name: string(id)}
	switch key {
	case keyKey(id):
		l.kind = kindKey
	case keyUseKey(id):
		l.kind = kindKeyUse
	case keyListKey("", id):
		l.kind = kindKeyEntry
	default:
		folder := strings.TrimSuffix(key, "/"+string(id)+suffix)
		t, err := ParseTenant(folder[strings.LastIndexByte(folder, '/')+1:])
		if err != nil || key != keyListKey(t, id) {
			return location{}
		}
		l.kind, l.tenant = kindKeyEntry, t
	}
	return l
}
