package main

import (
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"modelbucket/registry"
)

// What a folder of SecureNet's ModelPersistence holds, and how it is recognised.
//
// Artifacts are the files *.joblib. What an artifact is called is taken from its
// metadata (model_name, tenant_id, version), and where that is silent from its path:
//
//	<tenant>/<model>/<version>.joblib
//	<tenant>/<model>/<version>/<any name>.joblib
//	<tenant>/<model>_<version>.joblib
//	<model>_<version>.joblib                      tenant "default"
//
// where a version begins with a digit or with v and a digit. Its metadata is the JSON
// object whose filepath names it; else the one beside it of the same name
// (<name>.json, <name>_metadata.json, <name>.joblib.json …), or a metadata.json in a
// folder that has no other artifact.
//
// A scaler that was saved on its own (<name>_scaler) belongs to the model <name>, or
// to the one whose name ends in _<name>, of the same tenant and version: it becomes
// the second file of that version.

// saved is one version as it lies in the folder.
type saved struct {
	tenant   registry.Tenant
	model    registry.Model
	label    registry.Label
	version  string // as it was written there
	at       time.Time
	files    []savedFile
	metadata json.RawMessage // of the first file, whole; nil: none
	problem  string          // why it cannot be taken over
}

// savedFile is an artifact on disk and the name that it gets.
type savedFile struct {
	path   string
	name   registry.FileName
	digest string // SHA-256, in hex
	size   int64
}

// persistenceRecord is what is read of a metadata JSON. Unknown fields are kept, not read.
type persistenceRecord struct {
	ModelName    string          `json:"model_name"`
	TenantID     string          `json:"tenant_id"`
	Version      any             `json:"version"`
	FileHash     string          `json:"file_hash"`
	FilePath     string          `json:"filepath"`
	CreatedAt    string          `json:"created_at"`
	UserMetadata json.RawMessage `json:"user_metadata"`

	file string // where it was found
	raw  json.RawMessage
}

const maxPersistenceRecord = 1 << 20 // bytes

var (
	versionLike   = regexp.MustCompile(`^v?[0-9][A-Za-z0-9._-]*$`)
	modelVersion  = regexp.MustCompile(`^(.+?)_(v?[0-9][A-Za-z0-9.-]*|[0-9]{8}_[0-9]{6}[0-9_]*)$`)
	recordEndings = []string{".joblib.metadata", ".joblib", "_metadata", ".metadata", "-metadata", "_meta", ".meta", ""}
)

// scanPersistence walks a folder and returns its versions, oldest first.
func scanPersistence(root string, tenant registry.Tenant) ([]*saved, error) {
	var artifacts []string
	var records []*persistenceRecord
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Type().IsRegular() && filepath.Ext(file) == ".joblib":
			artifacts = append(artifacts, file)
		case d.Type().IsRegular() && filepath.Ext(file) == ".json":
			record, err := readPersistenceRecord(file)
			if err != nil {
				return err
			}
			if record != nil {
				records = append(records, record)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", root, err)
	}
	var found []*saved
	for _, artifact := range artifacts {
		s, err := describe(root, artifact, tenant, recordOf(artifact, artifacts, records))
		if err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	found = joinScalers(found)
	slices.SortStableFunc(found, func(a, b *saved) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.version, b.version))
	})
	return found, nil
}

// readPersistenceRecord reads a JSON file; one that is no metadata is nil.
func readPersistenceRecord(file string) (*persistenceRecord, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxPersistenceRecord {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &persistenceRecord{file: file, raw: data}
	if json.Unmarshal(data, r) != nil || r.ModelName == "" && r.Version == nil && r.FileHash == "" {
		return nil, nil
	}
	return r, nil
}

// recordOf finds the metadata of an artifact, or nil.
func recordOf(artifact string, artifacts []string, records []*persistenceRecord) *persistenceRecord {
	folder, stem := filepath.Dir(artifact), strings.TrimSuffix(filepath.Base(artifact), ".joblib")
	for _, r := range records {
		named := path.Clean(strings.ReplaceAll(r.FilePath, `\`, "/"))
		slashed := filepath.ToSlash(artifact)
		if r.FilePath != "" && (named == slashed || strings.HasSuffix(named, "/"+lastSegments(slashed, 2))) {
			return r
		}
	}
	for _, ending := range recordEndings {
		for _, r := range records {
			if r.file == filepath.Join(folder, stem+ending+".json") {
				return r
			}
		}
	}
	alone := !slices.ContainsFunc(artifacts, func(other string) bool {
		return other != artifact && filepath.Dir(other) == folder
	})
	for _, r := range records {
		if alone && r.file == filepath.Join(folder, "metadata.json") {
			return r
		}
	}
	return nil
}

func lastSegments(s string, n int) string {
	segments := strings.Split(s, "/")
	return strings.Join(segments[max(0, len(segments)-n):], "/")
}

// describe says what an artifact is. A name that cannot be taken over is no error: the
// version says so itself.
func describe(root, artifact string, tenant registry.Tenant, record *persistenceRecord) (*saved, error) {
	info, err := os.Stat(artifact)
	if err != nil {
		return nil, err
	}
	relative, err := filepath.Rel(root, artifact)
	if err != nil {
		return nil, err
	}
	names := namesOf(filepath.ToSlash(relative))
	s := &saved{at: info.ModTime()}
	sum, other, err := digests(artifact)
	if err != nil {
		return nil, err
	}
	s.files = []savedFile{{path: artifact, name: "model.joblib", digest: sum, size: info.Size()}}
	if record != nil {
		names = names.or(record)
		s.metadata = record.raw
		if at, ok := parseTime(record.CreatedAt); ok {
			s.at = at
		}
		if h := strings.ToLower(record.FileHash); h != "" && h != sum && h != other {
			s.problem = "its bytes are not those that its metadata's file_hash names"
		}
	}
	s.version = names.version
	s.name(names, tenant)
	return s, nil
}

// persistenceNames are the three names before they are checked.
type persistenceNames struct{ tenant, model, version string }

// or takes from the metadata what it names.
func (n persistenceNames) or(r *persistenceRecord) persistenceNames {
	n.tenant, n.model = cmp.Or(r.TenantID, n.tenant), cmp.Or(r.ModelName, n.model)
	if r.Version != nil {
		n.version = fmt.Sprint(r.Version)
	}
	return n
}

// namesOf reads the names from a path; what it does not tell is empty.
func namesOf(relative string) persistenceNames {
	segments := strings.Split(strings.TrimSuffix(relative, ".joblib"), "/")
	n := len(segments)
	last := segments[n-1]
	switch {
	case n >= 4 && versionLike.MatchString(segments[n-2]):
		return persistenceNames{segments[n-4], segments[n-3], segments[n-2]}
	case n >= 3:
		return persistenceNames{segments[n-3], segments[n-2], last}
	}
	names := persistenceNames{model: last}
	if n == 2 {
		names.tenant = segments[0]
	}
	if m := modelVersion.FindStringSubmatch(last); m != nil {
		names.model, names.version = m[1], m[2]
	}
	return names
}

// name parses the names; the first that cannot be one here is the version's problem.
func (s *saved) name(n persistenceNames, tenant registry.Tenant) {
	fail := func(err error) {
		if s.problem == "" {
			s.problem = err.Error()
		}
	}
	var err error
	s.tenant, s.model = tenant, registry.Model(n.model)
	if n.tenant != "" {
		if s.tenant, err = registry.ParseTenant(n.tenant); err != nil {
			fail(err)
		}
	}
	if s.model, err = registry.ParseModel(n.model); err != nil {
		fail(err)
	}
	label := n.version
	if _, err := registry.ParseNumber(label); err == nil || strings.Trim(label, "0123456789") == "" && label != "" {
		label = "v" + label // a number alone is no label
	}
	if label == "" {
		fail(fmt.Errorf("nothing tells its version"))
	} else if s.label, err = registry.ParseLabel(label); err != nil {
		fail(err)
	}
}

// joinScalers makes each scaler the second file of the model that it belongs to.
func joinScalers(all []*saved) []*saved {
	var rest, scalers []*saved
	for _, s := range all {
		if strings.HasSuffix(string(s.model), "_scaler") && s.problem == "" {
			scalers = append(scalers, s)
		} else {
			rest = append(rest, s)
		}
	}
	for _, scaler := range scalers {
		base := strings.TrimSuffix(string(scaler.model), "_scaler")
		var owners []*saved
		for _, s := range rest {
			name := string(s.model)
			if s.tenant == scaler.tenant && s.label == scaler.label && len(s.files) == 1 &&
				(name == base || strings.HasSuffix(name, "_"+base)) {
				owners = append(owners, s)
			}
		}
		if len(owners) != 1 {
			rest = append(rest, scaler) // a model of its own
			continue
		}
		file := scaler.files[0]
		file.name = "scaler.joblib"
		owners[0].files = append(owners[0].files, file)
	}
	return rest
}

// digests are a file's SHA-256 and MD5, in hex: the metadata may name either.
func digests(file string) (sha string, md string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	sums := []hash.Hash{sha256.New(), md5.New()}
	if _, err := io.Copy(io.MultiWriter(sums[0], sums[1]), f); err != nil {
		return "", "", fmt.Errorf("read %s: %w", file, err)
	}
	return hex.EncodeToString(sums[0].Sum(nil)), hex.EncodeToString(sums[1].Sum(nil)), nil
}

// parseTime reads what Python's isoformat writes, with a zone or without (UTC then).
func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
