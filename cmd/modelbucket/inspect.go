package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"modelbucket/detector"
	"modelbucket/detector/sklearn"
	"modelbucket/registry"
)

type inspectCommand struct {
	What     string            `arg:"" placeholder:"FILE|REF" help:"A file; - is standard input. Where there is no such file: a version, for example acme/fraud:7."`
	File     registry.FileName `placeholder:"NAME" help:"Of a version, only this file."`
	Contents bool              `help:"Also every value, as far as it can be shown; --json has them always."`
}

func (inspectCommand) Help() string {
	return "Nothing of the file is executed, whatever is in it. Ends with 0 for a detector, with 1 for what holds none, and with 5 for a file that is damaged or made to do harm."
}

// inspected is a file and what was found in it.
type inspected struct {
	File string `json:"file"`
	Size int64  `json:"size"`
	*sklearn.Description
	err error
}

// Run tells what is in a file, or in the files of a version.
func (c inspectCommand) Run(ctx context.Context, p *program) error {
	ref, files, err := c.inspect(ctx, p)
	if err != nil {
		return err
	}
	if p.JSON {
		document := map[string]any{"files": files}
		if ref != "" {
			document["ref"] = ref
		}
		if err := p.printJSON(document); err != nil {
			return err
		}
	}
	for i, f := range files {
		if p.JSON {
			break
		}
		if i > 0 && !p.Quiet {
			if _, err := fmt.Fprintln(p.stdout); err != nil {
				return err
			}
		}
		if err := c.print(p, f); err != nil {
			return err
		}
	}
	return verdict(files)
}

// inspect looks at the one or the other; ref is empty for a file.
func (c inspectCommand) inspect(ctx context.Context, p *program) (ref string, files []inspected, err error) {
	if c.What == "-" {
		f, err := look("-", p.stdin)
		return "", []inspected{f}, err
	}
	in, err := os.Open(c.What)
	if err == nil {
		defer in.Close()
		f, err := look(c.What, in)
		return "", []inspected{f}, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	parsed, refErr := registry.ParseRef(c.What)
	if refErr != nil {
		return "", nil, &mistake{text: err.Error(), hint: "and it is no version either: " + refErr.Error(), exit: exitNotFound}
	}
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return "", nil, err
	}
	v, err := api.Version(ctx, parsed)
	if err != nil {
		return "", nil, p.suggest(ctx, api, parsed, err)
	}
	if _, ok := v.File(c.File); c.File != "" && !ok {
		return "", nil, &mistake{text: fmt.Sprintf("%s has no file %s", v.Ref(), c.File), hint: "list them: modelbucket show --files " + v.Ref().String(), exit: exitNotFound}
	}
	for _, file := range v.Files {
		if c.File != "" && c.File != file.Name {
			continue
		}
		body, err := api.Open(ctx, v.Ref(), file.Name)
		if err != nil {
			return "", nil, err
		}
		f, err := look(string(file.Name), body)
		body.Close()
		if err != nil {
			return "", nil, err
		}
		f.Size = file.Size
		files = append(files, f)
	}
	return v.Ref().String(), files, nil
}

// look reads a file as far as it takes to tell what it is. The error is the reader's.
func look(name string, r io.Reader) (inspected, error) {
	counting := &countingReader{r: r}
	d, err := detector.Inspect(counting)
	if err != nil && !errors.Is(err, sklearn.ErrMalformed) && !errors.Is(err, sklearn.ErrUnsupported) && !errors.Is(err, sklearn.ErrTooLarge) {
		return inspected{}, err
	}
	if _, copyErr := io.Copy(io.Discard, counting); copyErr != nil {
		return inspected{}, copyErr
	}
	return inspected{File: name, Size: counting.n, Description: d, err: err}, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// verdict is how the run ends.
func verdict(files []inspected) error {
	detectors, names := 0, make([]string, 0, len(files))
	for _, f := range files {
		switch {
		case f.err == nil:
			detectors++
		case f.Harmful, errors.Is(f.err, sklearn.ErrMalformed) && !errors.Is(f.err, sklearn.ErrNoPickle), errors.Is(f.err, sklearn.ErrTooLarge):
			return &mistake{text: f.File + " is damaged, or made to do harm: " + f.Because, hint: "load it nowhere else before you know where it comes from", exit: exitCorrupt}
		}
		names = append(names, f.File)
	}
	if detectors == 0 {
		return &mistake{text: strings.Join(names, ", ") + ": no detector in it, nothing that can be asked for scores", exit: exitFailed}
	}
	return nil
}

func (c inspectCommand) print(p *program, f inspected) error {
	if p.Quiet {
		_, err := fmt.Fprintln(p.stdout, orDash(plain(strings.Trim(f.ModelModule+"."+f.ModelType, "."))))
		return err
	}
	t := table{header: []string{"FILE", plain(f.File)}}
	add := func(name, value string) {
		if value != "" {
			t.add(name, value)
		}
	}
	add("size", p.size(f.Size))
	add("packed by", f.Container)
	if f.Unpacked > 0 {
		add("unpacked size", p.size(f.Unpacked))
	}
	add("pickle protocols", strings.Trim(fmt.Sprint(f.Protocols), "[]"))
	add("model", strings.Trim(f.ModelModule+"."+f.ModelType, "."))
	add("scikit-learn", f.SklearnVersion)
	add("joblib", f.JoblibVersion)
	if add("features", joinedInOrder(f.FeatureNames)); f.FeatureNames == nil && f.Features > 0 {
		add("features", fmt.Sprintf("%d without names", f.Features))
	}
	if d := f.Detector; d != nil {
		steps := append(slices.Clone(d.Scalers), "IsolationForest")
		add("detector", fmt.Sprintf("%s of %d features; %d trees, %d nodes, %d samples a tree", strings.Join(steps, " → "), d.Features, d.Trees, d.Nodes, d.MaxSamples))
		add("offset", fmt.Sprint(d.Offset))
	}
	add("not a detector", f.Because)
	for _, w := range f.Warnings {
		add("warning", w)
	}
	params := map[string]string{}
	flatten(params, "parameter", json.RawMessage(f.ModelParams))
	for _, name := range slices.Sorted(maps.Keys(params)) {
		add(strings.Replace(name, ".", " ", 1), params[name])
	}
	add("arrays", fmt.Sprint(f.Arrays))
	for _, g := range f.Globals {
		if g == f.Refused {
			g += "  REFUSED"
		}
		add("names", g)
	}
	if err := p.print(t); err != nil || !c.Contents {
		return err
	}
	contents := table{header: []string{"VALUE", "TYPE", "CONTENT"}}
	for _, v := range f.Contents {
		contents.add(orDash(v.Path), v.Type, v.Value)
	}
	if f.LeftOut {
		contents.add("…", "", "more than is shown")
	}
	if _, err := fmt.Fprintln(p.stdout); err != nil {
		return err
	}
	return p.print(contents)
}
