package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"modelbucket/registry"
	"modelbucket/registry/signature"
	"modelbucket/web/client"
)

type signCommand struct {
	Ref          registry.Ref `arg:"" placeholder:"REF" help:"Version to sign, for example acme/fraud:7."`
	Files        []string     `arg:"" optional:"" placeholder:"FILE…" help:"Files and folders of which it must consist, to the byte. Without them is signed what the server says of it."`
	Key          string       `placeholder:"FILE" help:"Private key (PEM; ECDSA on P-256, as openssl makes it)."`
	Certificates string       `placeholder:"FILE" help:"Certificates that vouch for the key (PEM), its own first."`
	Signature    string       `placeholder:"FILE" help:"Signature that was made elsewhere, in place of a key: model.sig of model_signing."`
}

// Run signs a version that is there, or signs it anew.
func (c signCommand) Run(ctx context.Context, p *program) error {
	if (c.Key == "") == (c.Signature == "") {
		return usage("for example: modelbucket sign acme/fraud:7 model.joblib --key key.pem", "give either --key or --signature")
	}
	signer, err := readSigner(c.Key, c.Certificates)
	if err != nil {
		return err
	}
	api, err := p.connect(ctx, toChange)
	if err != nil {
		return err
	}
	v, err := api.Version(ctx, c.Ref)
	if err != nil {
		return p.suggest(ctx, api, c.Ref, err)
	}
	if len(c.Files) > 0 {
		if err := c.compare(p, v); err != nil {
			return err
		}
	}
	var data []byte
	if signer != nil {
		data, err = registry.SignFiles(signer, v.Model, v.Files)
	} else {
		data, err = readSignature(c.Signature)
	}
	if err != nil {
		return err
	}
	if v, err = api.Sign(ctx, v.Ref(), data); err != nil {
		return err
	}
	switch {
	case p.JSON:
		return p.printJSON(v)
	case p.Quiet:
		_, err = fmt.Fprintln(p.stdout, v.Ref())
	default:
		_, err = fmt.Fprintf(p.stdout, "%s  %s\n", v.Ref(), p.signature(v.Signature))
	}
	return err
}

// compare wants a version to consist of the files here.
func (c signCommand) compare(p *program, v *registry.Version) error {
	files, _, err := pushCommand{Files: c.Files}.collect(p)
	if err == nil {
		err = digestAll(files)
	}
	if err != nil {
		return err
	}
	differs := func(format string, args ...any) error {
		return &mistake{text: fmt.Sprintf("%s is not what is here: %s", v.Ref(), fmt.Sprintf(format, args...)), hint: "nothing was signed; modelbucket show --files " + v.Ref().String() + " lists its files", exit: exitCorrupt}
	}
	for _, f := range files {
		switch there, ok := v.File(f.Name); {
		case !ok:
			return differs("it has no file %s", f.Name)
		case there.SHA256 != f.SHA256:
			return differs("%s has other content", f.Name)
		}
	}
	if len(files) != len(v.Files) { // each of ours is one of its
		return differs("it has %d files, and here are %d", len(v.Files), len(files))
	}
	return nil
}

// digestAll reads files for their SHA-256: they are read a second time when they are sent,
// and refused if they have changed.
func digestAll(files []client.File) error {
	for i, f := range files {
		if f.Once {
			return usage("save it to a file first, or sign the version afterwards: modelbucket sign", "standard input cannot be read twice, to be signed and to be sent")
		}
		content, err := f.Open()
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, content)
		if err = errors.Join(err, content.Close()); err != nil {
			return err
		}
		files[i].SHA256 = hex.EncodeToString(sum.Sum(nil))
	}
	return nil
}

// readSigner reads a private key and its certificates ("": none); no key is nil.
func readSigner(key, certificates string) (*signature.Signer, error) {
	if key == "" {
		if certificates != "" {
			return nil, usage("name the private key, too", "certificates alone sign nothing")
		}
		return nil, nil
	}
	private, err := os.ReadFile(key)
	if err != nil {
		return nil, usage("for example one made with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem", "%v", err)
	}
	var chain []byte
	if certificates != "" {
		if chain, err = os.ReadFile(certificates); err != nil {
			return nil, usage("a file of PEM, the certificate of the key first", "%v", err)
		}
	}
	signer, err := signature.ParseSigner(private, chain)
	if err != nil {
		return nil, usage("for example one made with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem", "%s: %v", key, err)
	}
	return signer, nil
}

// readTrust reads public keys and root certificates; no file is nil.
func readTrust(file string) (*signature.Trust, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usage("a file of PEM with public keys, root certificates or both", "%v", err)
	}
	trust, err := signature.ParseTrust([]string{string(text)})
	if err != nil {
		return nil, usage("a file of PEM with public keys, root certificates or both", "%s: %v", file, err)
	}
	return trust, nil
}

// readSignature reads a signature that was made elsewhere.
func readSignature(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, usage("a Sigstore bundle, as model_signing writes it", "%v", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, signature.MaxBundle+1))
	if err != nil {
		return nil, err
	}
	if _, err := signature.Parse(data); err != nil {
		return nil, usage("a Sigstore bundle, as model_signing writes it", "%s: %v", file, err)
	}
	return data, nil
}

// signedAs is the state of a signature; an older server tells none.
func signedAs(info *registry.SignatureInfo) string {
	if info == nil {
		return dash
	}
	return info.State
}

// signature tells in words how a version is signed, and what follows from it.
func (p *program) signature(info *registry.SignatureInfo) string {
	if info == nil {
		return ""
	}
	text := info.State
	if info.KeyID != "" {
		text += ", key " + p.short(info.KeyID)
	}
	if info.State == registry.SignatureTrusted {
		return text
	}
	if info.Policy == registry.SignaturesRequire {
		text += "; not served"
	}
	if info.State != registry.SignatureNone {
		text += ": " + info.Reason
	}
	return text
}

// signatureFlags are what a node does about signatures.
type signatureFlags struct {
	RequireSignature bool   `help:"Serve no version without a trusted signature, whatever its tenant asks for."`
	SignatureKeys    string `placeholder:"FILE" help:"Public keys and root certificates (PEM) that alone are trusted on this node, in place of those that tenants name: who can write in the bucket can name keys there."`
	SignKeyFile      string `placeholder:"FILE" help:"Private key (PEM) with which this node signs what is trained on it."`
	SignCertificates string `placeholder:"FILE" help:"Certificates (PEM) that vouch for that key, its own first."`
}
