package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"modelbucket/registry"
	"modelbucket/web/client"
)

type importCommand struct {
	Folder string          `arg:"" placeholder:"FOLDER" help:"Folder that SecureNet's ModelPersistence wrote."`
	Tenant registry.Tenant `default:"default" placeholder:"TENANT" help:"Tenant of what names none."`
	DryRun bool            `help:"Only say what would be added."`
}

// Help is the longer text.
func (importCommand) Help() string {
	return `Each artifact becomes a version whose label is the version that it had there; a number alone, say 3, becomes v3. Run again, it adds only what is missing, and refuses what is there with other bytes.

Artifacts are files *.joblib. Their names come from the metadata JSON (model_name, tenant_id, version), else from the path:

TENANT/MODEL/VERSION.joblib
TENANT/MODEL/VERSION/ANY.joblib
TENANT/MODEL_VERSION.joblib
MODEL_VERSION.joblib

Metadata is the JSON whose filepath names the artifact, else NAME.json or NAME_metadata.json beside it, else a metadata.json in a folder that has no other artifact. NAME_scaler joins the model NAME, or …_NAME, of the same tenant and version as its second file. Versions are added in the order of created_at; a file_hash (SHA-256 or MD5) is checked.`
}

// The states of an import's rows.
const (
	wouldAdd = "would add"
	added    = "added"
	there    = "there already"
)

// imported is what became of one version.
type imported struct {
	Ref     string   `json:"ref"`
	From    string   `json:"from"`
	Files   []string `json:"files"`
	State   string   `json:"state"`
	Problem string   `json:"problem,omitempty"`
}

// Run takes over a folder of SecureNet's.
func (c importCommand) Run(ctx context.Context, p *program) error {
	info, err := os.Stat(c.Folder)
	if err != nil || !info.IsDir() {
		return usage("name the folder that ModelPersistence wrote", "%s is no folder", c.Folder)
	}
	found, err := scanPersistence(c.Folder, c.Tenant)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return &mistake{text: "no *.joblib below " + c.Folder, hint: "what is recognised: modelbucket import --help", exit: exitFailed}
	}
	api, err := p.connect(ctx, toSave)
	if err != nil {
		return err
	}
	p.ifInterrupted("what was added stays; run it again for the rest")
	rows := []imported{}
	counts := map[string]int{}
	for _, s := range found {
		row, err := c.one(ctx, p, api, s)
		if err != nil {
			return err
		}
		rows = append(rows, row)
		counts[row.State]++
	}
	t := table{header: []string{"VERSION", "FROM", "FILES", "STATE"}}
	for _, r := range rows {
		state := r.State
		if r.Problem != "" {
			state += ": " + r.Problem
		}
		t.add(r.Ref, r.From, joined(r.Files), state)
	}
	if err := p.result(rows, "versions", false, t, 0); err != nil {
		return err
	}
	p.say("%d added, %d there already, %d to be added, %d refused", counts[added], counts[there], counts[wouldAdd], counts[refused])
	if counts[refused] > 0 {
		return &mistake{text: fmt.Sprintf("%d of %d versions were not taken over", counts[refused], len(found)), hint: "mend what is named beside them, then run it again: it adds only what is missing", exit: exitFailed}
	}
	return nil
}

const refused = "refused"

// one takes over one version, unless it is there.
func (c importCommand) one(ctx context.Context, p *program, api *client.Client, s *saved) (imported, error) {
	row := imported{Ref: fmt.Sprintf("%s/%s:%s", s.tenant, s.model, s.label), From: s.files[0].path, State: refused, Problem: s.problem}
	for _, f := range s.files {
		row.Files = append(row.Files, string(f.name))
	}
	if s.problem != "" {
		return row, nil
	}
	ref := registry.Ref{Tenant: s.tenant, Model: s.model, Selector: registry.Selector{Label: s.label}}
	v, err := api.Version(ctx, ref)
	answered, isAnswer := errors.AsType[*client.Error](err)
	switch {
	case err == nil:
		if row.Problem = s.differs(v); row.Problem == "" {
			row.Ref, row.State = v.Ref().String(), there
		}
		return row, nil
	case isAnswer && answered.Code == "version_deleted":
		row.Problem = "it was deleted here, and its label stays taken"
		return row, nil
	case !isAnswer || answered.ExitCode() != exitNotFound:
		return row, err
	case c.DryRun:
		row.State = wouldAdd
		return row, nil
	}
	metadata, err := s.userMetadata()
	if err != nil {
		return row, err
	}
	v, err = p.publish(ctx, api, client.Publication{
		Tenant: s.tenant, Model: s.model, Label: s.label, UserMetadata: metadata, Key: s.key(ref),
	}, s.uploads())
	if err != nil {
		return row, err
	}
	row.Ref, row.State = v.Ref().String(), added
	return row, nil
}

// differs says how the version that is there is another one, or "".
func (s *saved) differs(v *registry.Version) string {
	for _, f := range s.files {
		if file, ok := v.File(f.name); !ok || file.SHA256 != f.digest {
			return fmt.Sprintf("%s has the label %s, with other bytes in %s", v.Ref(), s.label, f.name)
		}
	}
	return ""
}

// key is the same whenever the same bytes are taken over as the same version.
func (s *saved) key(ref registry.Ref) string {
	sum := sha256.New()
	fmt.Fprintln(sum, ref)
	for _, f := range s.files {
		fmt.Fprintln(sum, f.name, f.digest)
	}
	return "import-" + hex.EncodeToString(sum.Sum(nil))
}

func (s *saved) uploads() []client.File {
	var files []client.File
	for _, f := range s.files {
		files = append(files, client.File{
			Name: f.name, Size: f.size, SHA256: f.digest,
			Open: func() (io.ReadCloser, error) { return os.Open(f.path) },
		})
	}
	return files
}

// userMetadata is what the Python code remembered: its user_metadata as it was, and
// beside it, under "imported", the rest.
func (s *saved) userMetadata() (json.RawMessage, error) {
	user := map[string]json.RawMessage{}
	rest := map[string]json.RawMessage{}
	if s.metadata != nil {
		if err := json.Unmarshal(s.metadata, &rest); err != nil {
			return nil, fmt.Errorf("metadata of %s: %w", s.files[0].path, err)
		}
		if given, ok := rest["user_metadata"]; ok && json.Unmarshal(given, &user) == nil && user != nil {
			delete(rest, "user_metadata")
		} else {
			user = map[string]json.RawMessage{}
		}
	}
	if _, ok := rest["created_at"]; !ok {
		at, err := json.Marshal(s.at.UTC().Format(time.RFC3339))
		if err != nil {
			return nil, err
		}
		rest["created_at"] = at
	}
	data, err := json.Marshal(rest)
	if err != nil {
		return nil, err
	}
	user["imported"] = data
	return json.Marshal(user)
}
