// Package registry keeps versions of models in a bucket: what is kept, under which
// keys, and by which protocol many nodes change it at once without a database, a lock
// or a clock that they share.
//
// # Words
//
//   - tenant: who owns models; the first segment of every key.
//   - model: a named series of versions.
//   - version: one immutable set of files with its metadata. Its id is its folder's
//     name and ends in a UUIDv7; its number (1, 2, 3 … per model) is given at commit and
//     never again, not even after a deletion.
//   - label: an immutable name that a user gave to one version.
//   - alias: a movable name for one version, with its history.
//   - latest: the highest number that is not deleted. It is never stored.
//   - record: the commit record of a version, in the model's log.
//
// # What is true
//
// A version exists if and only if its record exists. The record is written once, under
// the next free number, after everything that it names: it holds the SHA-256 of
// metadata.json, which holds the SHA-256 of each file. Records are never changed or
// deleted, and their numbers have no gaps. Everything else about a version is a sibling
// of its record (attributes, tombstone) or a cache of what the records say (labels,
// idempotency keys).
//
// # The bucket's format
//
// Names that users give never begin with "_": those are the system's.
//
//	acme/_tenant.json                                    description, tags, limits, signature policy, deleted (compare-and-swap)
//	acme/fraud/_model.json                               description, tags, deleted_through (compare-and-swap)
//	acme/fraud/v1.0.0199c2f0-…/model.joblib              a version's folder: its files (written once)
//	acme/fraud/v1.0.0199c2f0-…/metadata.json             all that never changes about them (written once)
//	acme/fraud/v1.0.0199c2f0-…/model.sig                 their signature (compare-and-swap)
//	acme/fraud/_versions/999999/992-7.json               the record of version 7 (create-once)
//	acme/fraud/_versions/999999/992-7.attributes.json    description, tags (compare-and-swap)
//	acme/fraud/_versions/999999/992-7.tombstone.json     deleted: by whom, when, why (create-once)
//	acme/fraud/_labels/v1.0.json                         index: label to number (create-once, compare-and-swap)
//	acme/fraud/_operations/<sha256 of the key>.json      index: idempotency key to number (the same)
//	acme/fraud/_aliases/champion.json                    version, revision, the last 50 states (compare-and-swap)
//	acme/fraud/_uploads/<folder>.json                    intent of an upload under way (create-once, compare-and-swap)
//	acme/fraud/_trash/<first>-<last>.json                deleted versions, for the collector (written once)
//	_system/format.json                                  the format of the whole (create-once)
//	_system/root_token.json                              SHA-256 of the root token (create-once)
//	_system/keys/<id>.json                               an API key: SHA-256 of its token, tenant, role, end (create-once, compare-and-swap)
//	_system/keys/_tenants/acme/<id>.json                 entry in the list of the tenant's keys; _all: of those for all (written once)
//	_system/keys/_used/<id>.json                         when the key was last used, to about an hour (the last who writes wins)
//	_system/keys/_epoch.json                             its revision counts revocations (compare-and-swap)
//	acme/_audit/79216-2026-11-25/<time>-<chain>-<n>.json who changed what: a batch of records (create-once)
//	_system/audit/…                                      the same, of what belongs to no tenant
//	_system/gc/, _system/probe/                          what asks a store for its time and its word
//
// A record's number is counted down from 999,999,999 and cut into folders of a
// thousand, so that the newest is the first key of a listing and latest is one call, at
// 10 versions and at 100,000 alike. "992-7" sorts as 992 and reads as version 7.
//
// The keys of the audit log count days and milliseconds down, so that a listing shows the
// newest batch first. The batches of one process for one tenant are a chain: each has the
// number and the SHA-256 of the one before it.
//
// Every JSON object but model.sig is an envelope,
//
//	{"format":1,"key":<its own full key>,"sha256":<of the body's bytes>,"body":{…}}
//
// without any space between, and a reader checks all three. It ignores fields of a body
// that it does not know and refuses a higher format. The fields of each body stand beside
// their types in metadata.go, alias.go, index.go, publish.go, delete.go, key.go and audit_chain.go. A file above
// 8 MiB has a chaining value of its SHA-256 for each piece in metadata.json (digest.go),
// so that a part of it is verified without the rest.
//
// model.sig is a Sigstore bundle just as others' programs write and read it (see
// registry/signature): whoever copies a version's folder out of the bucket can verify it
// there. It is written before the record, so that a version that comes signed is never
// seen without; or later, and over an older one, as keys change and versions do not.
//
// # How to save
//
// Begin lists the log for the last number, anchors label and idempotency key, and leaves
// an intent; File streams bytes; Commit writes metadata.json and then tries to create
// record last+1. Whoever sends record n has read every record since its label and its
// key were known to be free (the scan rule): as n can be created once, and n−1 exists
// before n is tried, of two publishers with the same label or key the later one must
// have read the earlier one's record. This alone makes labels unique and repeats
// exactly-once. An unclear answer is settled by reading the record back, and only so: a
// try is repeated under the same number until it is known who has it.
//
// Every write of an upload goes out within five minutes of a renewal of its intent (the
// fence), and an intent that the collector has condemned can't be renewed. So nothing of
// a condemned upload lands any more when, hours later, its files are deleted.
//
// # How to read
//
// Latest is one listing call beside one read. What needed several calls holds only if
// no number was added meanwhile; else it is read again. An error of any page of a
// listing voids the whole answer.
//
// # Who sees what
//
// A tenant's requests carry its scope in their context (WithScope): directly below the
// registry a bucket refuses, for such a context, every key and prefix outside the
// tenant's own, and leaves out of a listing what lies elsewhere. API keys belong to
// tenants and lie in _system, which a tenant's scope never reaches; the few functions
// that read and write them leave it, and nothing else does but Copy, which has one for
// each of its two ends.
//
// # Who cleans up
//
// Nobody has to: what a node left that died is found by what it wrote first. An intent
// leads the collector to the folder of an upload, and the word in _trash of a deletion to
// the files of a version and to an alias that was set to it meanwhile.
//
// # What an operator must not do
//
// A lifecycle rule must not expire current objects, least of all below _versions/: a
// number would be given twice. An older copy of a bucket must not be put back under
// running nodes: they would have acknowledged what it does not know.
package registry
