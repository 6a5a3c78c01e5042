package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"modelbucket/registry"
)

type showCommand struct {
	Ref   registry.Ref `arg:"" placeholder:"REF" help:"Version, for example acme/fraud:7, acme/fraud:v1.0 or acme/fraud@champion; acme/fraud is its latest."`
	Files bool         `help:"Only the files, with their sizes and digests."`
}

// Run shows all that is known of a version.
func (c showCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	v, err := api.Version(ctx, c.Ref)
	if err != nil {
		return p.suggest(ctx, api, c.Ref, err)
	}
	files := table{header: []string{"FILE", "SIZE", "SHA256"}}
	for _, f := range v.Files {
		files.add(string(f.Name), p.size(f.Size), f.SHA256)
	}
	switch {
	case p.JSON && c.Files:
		return p.printJSON(v.Files)
	case p.JSON:
		return p.printJSON(v)
	case p.Quiet:
		_, err := fmt.Fprintln(p.stdout, v.Ref())
		return err
	case c.Files:
		return p.print(files)
	}
	return p.print(p.facts(v))
}

// facts are a version in two columns.
func (p *program) facts(v *registry.Version) table {
	t := table{header: []string{"VERSION", v.Ref().String()}}
	add := func(name, value string) {
		if value != "" {
			t.add(name, value)
		}
	}
	add("label", text(v.Label))
	add("state", v.State)
	add("id", string(v.ID))
	add("aliases", joined(v.Aliases))
	add("description", v.Description)
	for _, name := range slices.Sorted(maps.Keys(v.Tags)) {
		add("tag "+name, v.Tags[name])
	}
	add("created", p.when(v.CreatedAt)+" by "+v.CreatedBy)
	if s := v.Signature; s != nil && (s.State != registry.SignatureNone || s.Policy != registry.SignaturesNone) {
		add("signature", p.signature(s))
	}
	add("restored from", text(v.RestoredFrom))
	for _, f := range v.Files {
		add("file "+string(f.Name), p.size(f.Size)+"  sha256:"+p.short(f.SHA256))
	}
	if v.ModelType != nil {
		add("model", strings.Trim(text(v.ModelModule)+"."+*v.ModelType, "."))
	}
	add("scikit-learn", text(v.SklearnVersion))
	add("joblib", text(v.JoblibVersion))
	if v.Detector == nil { // else they are among its facts
		add("features", joinedInOrder(v.FeatureNamesIn))
	}
	add("not a detector", v.NotADetectorBecause)
	flat := map[string]string{}
	flatten(flat, "parameter", v.ModelParams)
	flatten(flat, "detector", v.Detector)
	flatten(flat, "user", v.UserMetadata)
	for _, name := range slices.Sorted(maps.Keys(flat)) {
		if strings.HasPrefix(name, "detector.training.hyperparameters.") {
			continue // they are among the parameters
		}
		add(strings.Replace(strings.TrimPrefix(name, "detector."), ".", " ", 1), flat[name])
	}
	return t
}

// flatten puts the leaves of a JSON document into a map, by their path. Lists of plain
// values are leaves too; lists of lists or objects are left to --json.
func flatten(into map[string]string, path string, document json.RawMessage) {
	var object map[string]json.RawMessage
	if json.Unmarshal(document, &object) == nil && object != nil {
		for name, value := range object {
			flatten(into, path+"."+name, value)
		}
		return
	}
	value := string(document)
	var s string
	var list []any
	switch {
	case value == "" || value == "null":
		return
	case json.Unmarshal(document, &s) == nil:
		value = s
	case json.Unmarshal(document, &list) == nil:
		plain := make([]string, len(list))
		for i, item := range list {
			switch item.(type) {
			case map[string]any, []any:
				return
			}
			plain[i] = fmt.Sprint(item)
		}
		value = strings.Join(plain, ", ")
	}
	into[path] = value
}

type resolveCommand struct {
	Ref registry.Ref `arg:"" placeholder:"REF" help:"What to resolve, for example acme/fraud or acme/fraud@champion."`
}

// Run prints the pinned form of a reference, and nothing else.
func (c resolveCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	v, err := api.Version(ctx, c.Ref)
	if err != nil {
		return p.suggest(ctx, api, c.Ref, err)
	}
	if p.JSON {
		return p.printJSON(map[string]any{"ref": v.Ref().String(), "version": v.Version, "id": v.ID})
	}
	_, err = fmt.Fprintln(p.stdout, v.Ref())
	return err
}
