package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"modelbucket/registry"
	"modelbucket/web/client"
)

type pushCommand struct {
	Model            registry.Ref      `arg:"" placeholder:"[TENANT/]MODEL" help:"Model to save a version of; it need not exist."`
	Files            []string          `arg:"" placeholder:"FILE…" help:"Files and folders; a folder is taken with all that is below it. - is standard input."`
	Name             string            `placeholder:"NAME" help:"What the file is called in the version (default: its own name; model.joblib for standard input)."`
	Label            registry.Label    `placeholder:"LABEL" help:"Name for this version, given once and for good."`
	Alias            []registry.Alias  `placeholder:"ALIAS" help:"Alias to move to this version; may be repeated."`
	Tag              map[string]string `placeholder:"NAME=VALUE" mapsep:"none" help:"Tag; may be repeated."`
	Note             string            `placeholder:"TEXT" help:"Description."`
	Metadata         string            `placeholder:"FILE" help:"JSON object with whatever else is to be remembered."`
	SignKey          string            `placeholder:"FILE" help:"Private key (PEM; ECDSA on P-256) to sign the files with. A file model.sig among them is their signature as it is."`
	SignCertificates string            `placeholder:"FILE" help:"Certificates that vouch for that key (PEM), its own first."`
	Key              string            `placeholder:"KEY" help:"Idempotency key: repeated with the same key, a push finds the version that it made before."`
}

// Run saves files as one new version.
func (c pushCommand) Run(ctx context.Context, p *program) error {
	if !c.Model.Selector.IsLatest() {
		return usage("give the version a name with --label", "%s names a version; its number is given when it is saved", c.Model)
	}
	files, signed, err := c.collect(p)
	if err != nil {
		return err
	}
	publication := client.Publication{
		Tenant: c.Model.Tenant, Model: c.Model.Model, Label: c.Label, Aliases: c.Alias,
		Description: c.Note, Tags: c.Tag, Key: c.Key,
	}
	if publication.UserMetadata, err = readObject(c.Metadata); err != nil {
		return err
	}
	if publication.Signature, err = c.sign(files, signed); err != nil {
		return err
	}
	api, err := p.connect(ctx, toSave)
	if err != nil {
		return err
	}
	v, err := p.publish(ctx, api, publication, files)
	if err != nil {
		return err
	}
	return p.published(ctx, api, v, c.Alias)
}

// sign makes the signature of the files, or reads the one that lies among them ("": none).
func (c pushCommand) sign(files []client.File, signed string) ([]byte, error) {
	signer, err := readSigner(c.SignKey, c.SignCertificates)
	switch {
	case err != nil:
		return nil, err
	case signer != nil && signed != "":
		return nil, usage("leave out one of them", "%s is a signature already, and --sign-key makes one", signed)
	case signed != "":
		return readSignature(signed)
	case signer == nil:
		return nil, nil
	}
	if err := digestAll(files); err != nil {
		return nil, err
	}
	var list []registry.File
	for _, f := range files {
		list = append(list, registry.File{Name: f.Name, SHA256: f.SHA256})
	}
	return registry.SignFiles(signer, c.Model.Model, list)
}

// publish uploads with a meter, and keeps straight what an interruption would mean.
func (p *program) publish(ctx context.Context, api *client.Client, publication client.Publication, files []client.File) (*registry.Version, error) {
	var total int64
	for _, f := range files {
		if f.Size < 0 {
			total = -1
			break
		}
		total += f.Size
	}
	name := string(files[0].Name)
	if len(files) > 1 {
		name = fmt.Sprintf("%d files", len(files))
	}
	meter := p.meter(name, total)
	defer meter.end()
	p.ifInterrupted("nothing was published")
	for i, f := range files {
		files[i].Open = func() (io.ReadCloser, error) {
			content, err := f.Open()
			if err != nil {
				return nil, err
			}
			return &metered{content, meter, func() {
				if i == len(files)-1 {
					p.ifInterrupted(fmt.Sprintf("all was sent, and it may have been published; see: modelbucket list %s/%s", publication.Tenant, publication.Model))
				}
			}}, nil
		}
	}
	return api.Publish(ctx, publication, files...)
}

// metered counts what is read, and tells when all of it was.
type metered struct {
	io.ReadCloser
	meter *meter
	atEnd func()
}

func (m *metered) Read(b []byte) (int, error) {
	n, err := m.ReadCloser.Read(b)
	m.meter.done.Add(int64(n))
	if err == io.EOF {
		m.atEnd()
	}
	return n, err
}

// published prints what came of a publication.
func (p *program) published(ctx context.Context, api *client.Client, v *registry.Version, aliases []registry.Alias) error {
	switch {
	case p.JSON:
		return p.printJSON(v)
	case p.Quiet:
		_, err := fmt.Fprintln(p.stdout, v.Ref())
		return err
	}
	line := v.Ref().String()
	if v.Label != nil {
		line += "  " + string(*v.Label)
	}
	for _, name := range aliases {
		line += "  @" + string(name)
		alias, err := api.Alias(ctx, v.Tenant, v.Model, name)
		if err != nil {
			return err
		}
		if len(alias.History) > 0 && alias.History[0].Version != nil {
			line += fmt.Sprintf(" (was %d)", *alias.History[0].Version)
		}
	}
	if _, err := fmt.Fprintln(p.stdout, line); err != nil {
		return err
	}
	for _, f := range v.Files {
		if _, err := fmt.Fprintf(p.stdout, "sha256:%s  %s  %s\n", p.short(f.SHA256), p.size(f.Size), f.Name); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(p.stdout, recognised(v)); err != nil {
		return err
	}
	if s := v.Signature; s != nil && (s.State != registry.SignatureNone || s.Policy == registry.SignaturesWarn) {
		_, err := fmt.Fprintf(p.stdout, "signature: %s\n", p.signature(s))
		return err
	}
	return nil
}

// recognised says what the server found in a version's files.
func recognised(v *registry.Version) string {
	if v.ModelType == nil {
		return "kept as it is: no model that is known here"
	}
	line := *v.ModelType
	var d detectorFacts
	if json.Unmarshal(v.Detector, &d) == nil && d.Trees > 0 {
		line += fmt.Sprintf(", %d trees × %d features", d.Trees, len(d.Features))
	}
	if v.SklearnVersion != nil {
		line += ", scikit-learn " + *v.SklearnVersion
	}
	if len(v.Detector) == 0 || string(v.Detector) == "null" {
		return line + ": kept, no detector"
	}
	return line + ": a detector"
}

// detectorFacts are what the command line shows of a detector.
type detectorFacts struct {
	Features []string `json:"features"`
	Trees    int      `json:"trees"`
}

// collect makes a list of uploads of the arguments, and finds the signature among them
// ("": none). Sizes are read now, contents later.
func (c pushCommand) collect(p *program) (files []client.File, signed string, err error) {
	if c.Name != "" && len(c.Files) != 1 {
		return nil, "", usage("leave it out, and they keep their names", "--name is for one file; these are %d", len(c.Files))
	}
	add := func(name, file string, size int64) error {
		if name == registry.SignatureName && signed == "" {
			signed = file
			return nil
		}
		parsed, err := registry.ParseFileName(name)
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.Name == parsed {
				return usage("give the folder that holds both, and they keep their paths", "two files are called %s", name)
			}
		}
		files = append(files, client.File{Name: parsed, Size: size, Open: func() (io.ReadCloser, error) { return os.Open(file) }})
		return nil
	}
	for _, arg := range c.Files {
		if arg == "-" {
			name, err := registry.ParseFileName(orElse(c.Name, "model.joblib"))
			if err != nil {
				return nil, "", err
			}
			files = append(files, client.File{Name: name, Size: -1, Open: once(p.stdin), Once: true})
			continue
		}
		info, err := os.Stat(arg)
		if err != nil {
			return nil, "", usage("give files or folders that are here", "%v", err)
		}
		if info.IsDir() {
			err = eachFile(arg, add)
		} else {
			err = add(orElse(c.Name, filepath.Base(arg)), arg, info.Size())
		}
		if err != nil {
			return nil, "", err
		}
	}
	if len(files) == 0 {
		return nil, "", usage("give a file, or a folder with files", "there is nothing to push")
	}
	return files, signed, nil
}

// eachFile calls add for each file below a folder, with its path there.
func eachFile(folder string, add func(name, file string, size int64) error) error {
	return filepath.WalkDir(folder, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return usage("push what it points to", "%s is no regular file", file)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		return add(path.Clean(filepath.ToSlash(relative)), file, info.Size())
	})
}

// once opens a stream that cannot be opened twice.
func once(r io.Reader) func() (io.ReadCloser, error) {
	opened := false
	return func() (io.ReadCloser, error) {
		if opened {
			return nil, fmt.Errorf("standard input cannot be read a second time")
		}
		opened = true
		return io.NopCloser(r), nil
	}
}

// readObject reads a file that holds a JSON object; no file is nil.
func readObject(file string) (json.RawMessage, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, usage("--metadata names a file", "%v", err)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil || object == nil {
		return nil, usage(`it holds an object, for example {"accuracy":0.95}`, "%s is no JSON object", file)
	}
	return data, nil
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
