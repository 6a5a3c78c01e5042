package registry

import "strings"

// What can be done about an object that is not as it should be depends on what hangs on
// it. An older intact copy, from the bucket's own versions or a backup, is the cure for
// all that never changes; advise says where else there is one.

const (
	bringBack   = "bring it back from the bucket's own versions or a backup"
	strayAdvice = "nothing refers to it: remove it, if it is nobody's"
)

// advise says what can be done about the damaged or missing object under key.
func advise(key string) string {
	switch key {
	case formatKey:
		return bringBack + ", or delete it: the next start writes it anew"
	case rootTokenKey:
		return bringBack + ", or set MODELBUCKET_ROOT_TOKEN on all nodes"
	}
	switch locateKey(key).kind {
	case kindKey:
		return bringBack + ", or delete it and make the key's holder another"
	case kindKeyUse:
		return "delete it: it only tells when the key was last used"
	case kindKeyEntry:
		return bringBack + ", or leave it: a list goes by its name alone; if it is missing, revoke the key by its id"
	case kindKeyEpoch:
		return bringBack + ", or delete it: nodes then read all keys anew"
	}
	tenant, rest, _ := strings.Cut(key, "/")
	if strings.HasPrefix(key, auditPrefix("")) || strings.HasPrefix(key, auditPrefix(Tenant(tenant))) {
		return bringBack + "; what it told of who changed what is lost else"
	}
	if rest == "_tenant.json" {
		return bringBack + ", or delete it: the tenant's description and tags go with it, and what it asks of signatures"
	}
	model, _, _ := strings.Cut(rest, "/")
	switch (series{Tenant(tenant), Model(model)}).locate(key).kind {
	case kindFile:
		return bringBack + "; without a copy, publish the file again as a new version and delete this one"
	case kindSignature:
		return bringBack + ", or sign the version anew: modelbucket sign"
	case kindAttributes:
		return bringBack + ", or delete it: the version then has the description and tags that it was published with"
	case kindTombstone:
		return bringBack + "; the version stays deleted in any case"
	case kindLabel:
		return bringBack + "; do not delete it, for the label would then be given a second time"
	case kindOperation:
		return bringBack + ", or delete it once its request is not repeated any more: it remembers an idempotency key for 7 days"
	case kindAlias:
		return bringBack + ", or delete it and set the alias anew: its history goes with it"
	case kindIntent:
		return bringBack + ", or delete it: the folder of an upload that came to nothing is then named as a stray"
	case kindTrash:
		return bringBack + ", or leave it: the collector goes by its name alone"
	}
	return bringBack // nothing else knows what a record, metadata.json or _model.json says
}
