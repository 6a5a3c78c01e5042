package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"modelbucket/registry"
	"modelbucket/web/client"
)

type pullCommand struct {
	Ref   registry.Ref      `arg:"" placeholder:"REF" help:"Version to download, for example acme/fraud@champion; acme/fraud is its latest."`
	To    string            `short:"o" name:"output" placeholder:"PATH" help:"Where to: a file, for several files a folder; - is standard output. Default: the file's name, for several MODEL-NUMBER."`
	File  registry.FileName `placeholder:"NAME" help:"Only this file."`
	Trust string            `placeholder:"FILE" help:"Public keys and root certificates (PEM): download only what one of them has signed."`
	Force bool              `help:"Replace files that are there and differ."`
}

// Run downloads a version. A file gets its name only when every byte of it is right.
func (c pullCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	v, err := api.Version(ctx, c.Ref)
	if err != nil {
		return p.suggest(ctx, api, c.Ref, err)
	}
	if err := c.trusted(ctx, api, v); err != nil {
		return err
	}
	files := v.Files
	if c.File != "" {
		file, ok := v.File(c.File)
		if !ok {
			return &mistake{text: fmt.Sprintf("%s has no file %s", v.Ref(), c.File), hint: "list them: modelbucket show --files " + v.Ref().String(), exit: exitNotFound}
		}
		files = []registry.File{file}
	}
	if c.To == "-" {
		if len(files) != 1 {
			return usage("choose one with --file", "%s has %d files, and standard output holds one", v.Ref(), len(files))
		}
		return p.download(ctx, api, v, files[0], p.stdout)
	}
	t := table{header: []string{"FILE", "SIZE", "SHA256"}}
	for _, f := range files {
		target, err := c.target(v, files, f)
		if err != nil {
			return err
		}
		if err := c.pull(ctx, p, api, v, f, target); err != nil {
			return err
		}
		t.add(target, p.size(f.Size), f.SHA256)
	}
	if p.JSON {
		return p.printJSON(map[string]any{"ref": v.Ref().String(), "files": files})
	}
	p.ifInterrupted("")
	if p.Quiet {
		return p.result(nil, "files", false, t, 0)
	}
	p.say("%s, every SHA-256 checked", v.Ref())
	return p.print(t)
}

// trusted wants a version to be signed, where keys are given. What is downloaded then are
// the very files that were signed.
func (c pullCommand) trusted(ctx context.Context, api *client.Client, v *registry.Version) error {
	trust, err := readTrust(c.Trust)
	if err != nil || trust == nil {
		return err
	}
	data, err := api.Signature(ctx, v.Ref())
	if err != nil {
		return err
	}
	if _, err := registry.VerifyFiles(data, trust, v.Files); err != nil {
		return &mistake{text: fmt.Sprintf("%s: %v", v.Ref(), err), hint: "nothing was downloaded; ask who published it", exit: exitCorrupt}
	}
	return nil
}

// target is the path that a file gets.
func (c pullCommand) target(v *registry.Version, files []registry.File, f registry.File) (string, error) {
	name := filepath.FromSlash(string(f.Name))
	if len(files) > 1 {
		folder := orElse(c.To, fmt.Sprintf("%s-%d", v.Model, v.Version))
		return filepath.Join(folder, name), nil
	}
	switch info, err := os.Stat(c.To); {
	case c.To == "":
		return filepath.Base(name), nil
	case err == nil && info.IsDir():
		return filepath.Join(c.To, filepath.Base(name)), nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return c.To, nil
}

// pull downloads one file beside its target, and renames it when it is whole and right.
func (c pullCommand) pull(ctx context.Context, p *program, api *client.Client, v *registry.Version, f registry.File, target string) (err error) {
	same, err := holds(target, f.SHA256)
	switch {
	case err != nil:
		return err
	case same == yes:
		return nil
	case same == no && !c.Force:
		return usage("--force replaces it, -o chooses another place", "%s is here already, with other content", target)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".part-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(out.Close()), os.Remove(out.Name()))
		}
	}()
	p.ifInterrupted(target + " was not written")
	if err := p.download(ctx, api, v, f, out); err != nil {
		return err
	}
	if err := out.Chmod(0o644); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(out.Name(), target)
}

func ignoreClosed(err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}

type answer int

const (
	absent answer = iota
	yes
	no
)

// holds tells whether a file is there with exactly these bytes.
func holds(file, digest string) (answer, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return absent, nil
	}
	if err != nil {
		return no, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return no, err
	}
	if hex.EncodeToString(sum.Sum(nil)) == digest {
		return yes, nil
	}
	return no, nil
}

// download copies a file's bytes, which are verified on their way.
func (p *program) download(ctx context.Context, api *client.Client, v *registry.Version, f registry.File, to io.Writer) error {
	from, err := api.Open(ctx, v.Ref(), f.Name)
	if err != nil {
		return err
	}
	defer from.Close()
	if from.SHA256 != f.SHA256 {
		return &mistake{text: fmt.Sprintf("%s of %s is sent with SHA-256 %s, and listed with %s", f.Name, v.Ref(), from.SHA256, f.SHA256), hint: "download it again; if that does not help, have the server verify the version", exit: exitCorrupt}
	}
	meter := p.meter(string(f.Name), f.Size)
	defer meter.end()
	_, err = io.Copy(io.MultiWriter(to, meter), from)
	return err
}
