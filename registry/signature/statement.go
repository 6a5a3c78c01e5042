package signature

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://model_signing/signature/v1.0"
	maxFiles      = 10_000
)

// File is one file of a model.
type File struct {
	Name   string // its path, with slashes
	SHA256 string // 64 hexadecimal digits in lower case
}

// statement is what is signed. Fields that it may also have mean nothing here, as the
// specification of either layer wants it.
type statement struct {
	Type          string         `json:"_type"`
	Subject       []subject      `json:"subject"`
	PredicateType string         `json:"predicateType"`
	Predicate     jsontext.Value `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

type predicate struct {
	Serialization serialization `json:"serialization"`
	Resources     resources     `json:"resources"`
}

// serialization says how files became resources.
type serialization struct {
	Method   string `json:"method"`
	HashType string `json:"hash_type"`
	Symlinks bool   `json:"allow_symlinks"`
	// Ignored are the paths that whoever signs or verifies a folder passes over. Here the
	// list of files itself says what belongs to a model, so they decide nothing.
	Ignored []string `json:"ignore_paths,omitempty"`
}

type resource struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Digest    string `json:"digest"`
}

// resources are no more of them than there may be files: each takes far more memory than
// its brackets.
type resources []resource

// UnmarshalJSONFrom stops at the first one too many.
func (r *resources) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '[' {
		return json.UnmarshalDecode(d, (*[]resource)(r)) // null, or what is none
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != ']' {
		if len(*r) > maxFiles {
			return fmt.Errorf("there are more than %d", maxFiles)
		}
		var one resource
		if err := json.UnmarshalDecode(d, &one); err != nil {
			return err
		}
		*r = append(*r, one)
	}
	_, err := d.ReadToken()
	return err
}

// parseStatement reads which files a payload speaks of.
func parseStatement(payload []byte) ([]File, error) {
	var s statement
	if err := json.Unmarshal(payload, &s); err != nil {
		return nil, malformed("what is signed is no in-toto statement in JSON")
	}
	switch {
	case s.Type != statementType:
		return nil, malformed("what is signed has the _type %s, not %s", shown(s.Type), statementType)
	case s.PredicateType != predicateType:
		return nil, malformed("what is signed has the predicateType %s, not %s", shown(s.PredicateType), predicateType)
	case len(s.Subject) != 1:
		return nil, malformed("what is signed has %d subjects, not one", len(s.Subject))
	}
	var p predicate
	if err := json.Unmarshal(s.Predicate, &p); err != nil {
		return nil, malformed("what is signed has a predicate of another shape")
	}
	switch {
	case p.Serialization.Method != "files":
		return nil, malformed("the model was cut by the method %s; only whole files are known here", shown(p.Serialization.Method))
	case p.Serialization.HashType != "sha256":
		return nil, malformed("its files have digests of the kind %s; only sha256 is known here", shown(p.Serialization.HashType))
	case len(p.Resources) == 0 || len(p.Resources) > maxFiles:
		return nil, malformed("it lists %d files; it lists 1 to %d", len(p.Resources), maxFiles)
	}
	files := make([]File, 0, len(p.Resources))
	seen := map[string]bool{}
	for _, r := range p.Resources {
		switch {
		case r.Algorithm != "sha256":
			return nil, malformed("file %s has a digest of the kind %s; only sha256 is known here", shown(r.Name), shown(r.Algorithm))
		case !isDigest(r.Digest):
			return nil, malformed("file %s has no SHA-256", shown(r.Name))
		case seen[r.Name]:
			return nil, malformed("it lists file %s twice", shown(r.Name))
		}
		seen[r.Name] = true
		files = append(files, File{r.Name, r.Digest})
	}
	if s.Subject[0].Digest["sha256"] != rootDigest(files) {
		return nil, malformed("the digest of its subject is not that of the files it lists")
	}
	return files, nil
}

func isDigest(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == sha256.Size && s == strings.ToLower(s)
}

// rootDigest is the SHA-256 of all files' digests, one after another as they are listed.
func rootDigest(files []File) string {
	h := sha256.New()
	for _, f := range files {
		raw, err := hex.DecodeString(f.SHA256)
		if err != nil {
			panic(err) // isDigest was asked
		}
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Covers is nil if the signature is of exactly these files: none is missing, none is
// there beside them, and each has the digest that was signed. Else it is ErrMismatch.
func (b *Bundle) Covers(files []File) error {
	signed := make(map[string]string, len(b.files))
	for _, f := range b.files {
		signed[f.Name] = f.SHA256
	}
	for _, f := range files {
		digest, ok := signed[f.Name]
		switch {
		case !ok:
			return fmt.Errorf("%w: %s is not among them", ErrMismatch, shown(f.Name))
		case digest != f.SHA256:
			return fmt.Errorf("%w: %s was signed with other content", ErrMismatch, shown(f.Name))
		}
		delete(signed, f.Name)
	}
	if len(signed) > 0 {
		return fmt.Errorf("%w: %s was signed too, and is not here", ErrMismatch, shown(slices.Sorted(maps.Keys(signed))[0]))
	}
	return nil
}

// makeStatement is what is to be signed for a model's files.
func makeStatement(model string, files []File, ignored []string) ([]byte, error) {
	files = slices.Clone(files)
	// The order of pathlib: name by name, so that a folder's files stay together. The
	// subject's digest depends on it.
	slices.SortFunc(files, func(a, b File) int {
		return slices.Compare(strings.Split(a.Name, "/"), strings.Split(b.Name, "/"))
	})
	p := predicate{Serialization: serialization{Method: "files", HashType: "sha256", Ignored: ignored}}
	for _, f := range files {
		if !isDigest(f.SHA256) {
			return nil, fmt.Errorf("sign %s: %s is no SHA-256", shown(f.Name), shown(f.SHA256))
		}
		p.Resources = append(p.Resources, resource{f.Name, "sha256", f.SHA256})
	}
	if len(files) == 0 || len(files) > maxFiles {
		return nil, fmt.Errorf("sign %d files: it can be 1 to %d", len(files), maxFiles)
	}
	said, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return json.Marshal(statement{
		Type: statementType, Subject: []subject{{model, map[string]string{"sha256": rootDigest(files)}}},
		PredicateType: predicateType, Predicate: jsontext.Value(said),
	})
}
