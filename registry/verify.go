package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"modelbucket/blob"
)

// Problem is something in the bucket that is not as it should be.
type Problem struct {
	Key     string `json:"key"`
	Problem string `json:"problem"`
	Advice  string `json:"advice"` // what can be done
}

// VerifyReport says what reading every byte of a version found.
type VerifyReport struct {
	Ref      string    `json:"ref"`
	Version  Number    `json:"version"`
	ID       ID        `json:"id"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"` // read and found right
	OK       bool      `json:"ok"`
	Problems []Problem `json:"problems"`
	// Signature is not part of OK, unless it is damaged.
	Signature *SignatureInfo `json:"signature"`
}

// Verify reads every byte of a version and holds it against the digests, and looks for
// objects in its folder that it does not name. What does not match is read a second time
// before it is called damage, as the line may have been at fault. Damage is in the report;
// an error means that it could not be found out.
func (r *Registry) Verify(ctx context.Context, ref Ref) (*VerifyReport, error) {
	v, err := r.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	report := &VerifyReport{Ref: v.Ref().String(), Version: v.Version, ID: v.ID, Problems: []Problem{}}
	s := v.series()
	// What is remembered proves nothing about the bucket: read both again.
	rec := new(record)
	if _, err = r.read(ctx, s.recordKey(v.Version), rec); err == nil {
		_, err = r.readMetadata(ctx, s, rec)
	}
	if err := report.damage(s.recordKey(v.Version), err); err != nil {
		return nil, err
	}
	asked, err := r.signatures(ctx, v.Tenant)
	if err != nil {
		return nil, err
	}
	var wrong string
	if report.Signature, wrong, err = r.inspectSignature(ctx, v, asked); err != nil {
		return nil, err
	}
	if wrong != "" {
		key := s.signatureKey(v.ID)
		report.Problems = append(report.Problems, Problem{key, wrong, advise(key)})
	}
	expected := map[string]bool{s.metadataKey(v.ID): true, s.signatureKey(v.ID): true}
	for _, f := range v.Files {
		key := s.fileKey(v.ID, f.Name)
		expected[key] = true
		report.Files++
		n, err := r.readThrough(ctx, v, f.Name)
		report.Bytes += n
		if err := report.damage(key, err); err != nil {
			return nil, err
		}
	}
	err = r.each(ctx, s.folder(v.ID), func(o blob.Object) error {
		if expected[o.Key] {
			return nil
		}
		there, err := r.exists(ctx, o.Key) // a wrong byte of the listing's would not be
		if err == nil && there {
			report.Problems = append(report.Problems, Problem{o.Key, "lies in the version's folder, and its metadata does not name it", strayAdvice})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	report.OK = len(report.Problems) == 0
	return report, nil
}

// readThrough reads a file to its end for its digests' sake.
func (r *Registry) readThrough(ctx context.Context, v *Version, name FileName) (n int64, err error) {
	body, err := r.OpenFile(ctx, v, name, blob.Range{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return io.Copy(io.Discard, body)
}

// damage adds err to the report if it speaks of damage, and returns it if not.
func (p *VerifyReport) damage(key string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrCorrupt), errors.Is(err, blob.ErrNotFound):
		p.Problems = append(p.Problems, Problem{key, err.Error(), advise(key)})
		return nil
	}
	return fmt.Errorf("verify %s: %w", p.Ref, err)
}
