package registry

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// record is the body of a commit record: only facts known before it is sent.
type record struct {
	Version        Number    `json:"version"`
	Folder         ID        `json:"folder"`
	MetadataSHA256 string    `json:"metadata_sha256"` // of the object's bytes
	Label          Label     `json:"label,omitempty"`
	Operation      string    `json:"operation"`      // SHA-256 of the idempotency key
	RequestSHA256  string    `json:"request_sha256"` // what the request said
	By             string    `json:"by"`
	At             time.Time `json:"at"`
	Nonce          string    `json:"nonce,omitempty"` // id of the change in the audit log
}

// metadata is the body of metadata.json: all immutable facts of a version.
type metadata struct {
	Tenant       Tenant            `json:"tenant"`
	Model        Model             `json:"model"`
	ID           ID                `json:"id"`
	Label        Label             `json:"label,omitempty"`
	CreatedAt    time.Time         `json:"created_at"`
	CreatedBy    string            `json:"created_by"`
	Files        []storedFile      `json:"files"`
	RestoredFrom string            `json:"restored_from,omitempty"`
	Description  string            `json:"description,omitempty"` // as first given; attributes may change it
	Tags         map[string]string `json:"tags,omitempty"`
	UserMetadata json.RawMessage   `json:"user_metadata,omitempty"`
	// SignatureSHA256 is of the signature that came with the files, whatever it is worth;
	// another one may lie there by now.
	SignatureSHA256 string `json:"signature_sha256,omitempty"`
	Facts
}

// Facts are what the layers above found in a version's files. The registry keeps them
// as they are and never reads them; nil is "not known".
type Facts struct {
	ModelType      *string         `json:"model_type"`
	ModelModule    *string         `json:"model_module"`
	SklearnVersion *string         `json:"sklearn_version"`
	JoblibVersion  *string         `json:"joblib_version"`
	ModelParams    json.RawMessage `json:"model_params"`
	// FeatureNamesIn and FeaturesIn are the columns that the model was trained on.
	FeatureNamesIn []string        `json:"feature_names_in_,omitempty"`
	FeaturesIn     int             `json:"n_features_in_,omitempty"`
	Detector       json.RawMessage `json:"detector"`
	// NotADetectorBecause tells why files that seem to be models are none that can be
	// asked; it is empty for a detector, and for files of another kind.
	NotADetectorBecause string `json:"not_a_detector_because,omitempty"`
}

// storedFile is a file with the digests that let a part of it be verified.
type storedFile struct {
	File
	PieceSize int64    `json:"piece_size,omitempty"`
	Pieces    []string `json:"pieces,omitempty"` // see digest.go
}

// File is one file of a version.
type File struct {
	Name   FileName `json:"name"`
	Size   int64    `json:"size"`
	SHA256 string   `json:"sha256"`
}

// The states of a version.
const (
	StateActive  = "active"
	StateDeleted = "deleted"
)

// Version is one immutable set of files with all that is known of it. Aliases,
// Description, Tags, Revision and State may change; the rest never does.
type Version struct {
	Tenant    Tenant    `json:"tenant"`
	Model     Model     `json:"model"`
	Version   Number    `json:"version"`
	ID        ID        `json:"id"`
	Label     *Label    `json:"label"`
	State     string    `json:"state"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`

	Aliases     []Alias           `json:"aliases"`
	Description string            `json:"description"`
	Tags        map[string]string `json:"tags"`
	Revision    int64             `json:"revision"` // of description and tags

	Files []File `json:"files"`
	Size  int64  `json:"size"` // of all files, in bytes
	Facts
	UserMetadata json.RawMessage `json:"user_metadata"`
	RestoredFrom *string         `json:"restored_from,omitempty"`
	DeletedAt    *time.Time      `json:"deleted_at,omitempty"`
	DeletedBy    string          `json:"deleted_by,omitempty"`
	// Signature is filled by who publishes, signs, or asks for it.
	Signature *SignatureInfo `json:"signature,omitempty"`

	stored []storedFile
	signed string // SHA-256 of the signature that came with the files; "": none did
}

// Ref names exactly this version.
func (v *Version) Ref() Ref { return Ref{v.Tenant, v.Model, Selector{Number: v.Version}} }

// Footprint is about how many bytes of memory the version takes: who publishes decides on
// most of it, so that what remembers versions has to count.
func (v *Version) Footprint() int64 {
	n := 1<<10 + len(v.Detector) + len(v.ModelParams) + len(v.UserMetadata) + len(v.NotADetectorBecause)
	for _, name := range v.FeatureNamesIn {
		n += 16 + len(name)
	}
	for _, f := range v.stored {
		n += 2*160 + len(f.Name) + len(f.Pieces)*80 // in Files, too
	}
	return int64(n) + footprint(v.Description, v.Tags)
}

func (v *Version) series() series { return series{v.Tenant, v.Model} }

// File finds a file of the version by name.
func (v *Version) File(name FileName) (File, bool) {
	i := slices.IndexFunc(v.Files, func(f File) bool { return f.Name == name })
	if i < 0 {
		return File{}, false
	}
	return v.Files[i], true
}

// versionOf puts a version together from its two immutable objects.
func versionOf(rec *record, m *metadata) *Version {
	v := &Version{
		Tenant: m.Tenant, Model: m.Model, Version: rec.Version, ID: m.ID, State: StateActive,
		CreatedAt: m.CreatedAt, CreatedBy: m.CreatedBy,
		Aliases: []Alias{}, Description: m.Description, Tags: maps.Clone(m.Tags),
		Files: []File{}, Facts: m.Facts, UserMetadata: m.UserMetadata, stored: m.Files, signed: m.SignatureSHA256,
	}
	if v.Tags == nil {
		v.Tags = map[string]string{}
	}
	if m.Label != "" {
		v.Label = &m.Label
	}
	if m.RestoredFrom != "" {
		v.RestoredFrom = &m.RestoredFrom
	}
	for _, f := range m.Files {
		v.Files = append(v.Files, f.File)
		v.Size += f.Size
	}
	return v
}

// tombstone is the body of a deletion mark.
type tombstone struct {
	Nonce  string    `json:"nonce"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

// attributes is the body of what people may change about a version, model or tenant.
type attributes struct {
	revisions
	Description string            `json:"description"`
	Tags        map[string]string `json:"tags"`
	At          time.Time         `json:"at"`
	By          string            `json:"by"`
}

// modelBody is the body of _model.json. Folder is where the model's keys lie: its own
// name, unless a newer program renamed it.
type modelBody struct {
	attributes
	Folder         Model     `json:"folder"`
	CreatedAt      time.Time `json:"created_at"`
	CreatedBy      string    `json:"created_by"`
	Deleted        bool      `json:"deleted"`
	DeletedThrough Number    `json:"deleted_through"` // versions up to this one are deleted
	DeletedAt      time.Time `json:"deleted_at,omitzero"`
	DeletedBy      string    `json:"deleted_by,omitempty"`
}

// tenantBody is the body of _tenant.json.
type tenantBody struct {
	attributes
	CreatedAt time.Time `json:"created_at"`
	Limits    Limits    `json:"limits,omitempty"`
	// Signatures is nil where none are asked for.
	Signatures *SignaturePolicy `json:"signatures,omitempty"`
	// Deleted: the tenant is not there, unless it has a model all the same.
	Deleted   bool      `json:"deleted,omitempty"`
	DeletedAt time.Time `json:"deleted_at,omitzero"`
	DeletedBy string    `json:"deleted_by,omitempty"`
}
