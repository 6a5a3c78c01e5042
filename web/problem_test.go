package web_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web"
)

// What each sentinel of the packages below means to a caller, and to a program that
// ends with it.
var meanings = map[string]struct {
	err    error
	code   string
	status int
	exit   int
}{
	"registry.ErrBadName":             {registry.ErrBadName, "bad_name", 400, 2},
	"registry.ErrInvalid":             {registry.ErrInvalid, "bad_request", 400, 2},
	"registry.ErrQuota":               {registry.ErrQuota, "quota_exceeded", 429, 1},
	"registry.ErrTenantNotFound":      {registry.ErrTenantNotFound, "tenant_not_found", 404, 3},
	"registry.ErrModelNotFound":       {registry.ErrModelNotFound, "model_not_found", 404, 3},
	"registry.ErrVersionNotFound":     {registry.ErrVersionNotFound, "version_not_found", 404, 3},
	"registry.ErrAliasNotFound":       {registry.ErrAliasNotFound, "alias_not_found", 404, 3},
	"registry.ErrFileNotFound":        {registry.ErrFileNotFound, "file_not_found", 404, 3},
	"registry.ErrVersionDeleted":      {registry.ErrVersionDeleted, "version_deleted", 410, 3},
	"registry.ErrLabelTaken":          {registry.ErrLabelTaken, "label_taken", 409, 4},
	"registry.ErrAliasInUse":          {registry.ErrAliasInUse, "alias_in_use", 409, 4},
	"registry.ErrKeyNotFound":         {registry.ErrKeyNotFound, "key_not_found", 404, 3},
	"registry.ErrTenantInUse":         {registry.ErrTenantInUse, "tenant_in_use", 409, 4},
	"registry.ErrConflict":            {registry.ErrConflict, "conflict", 409, 4},
	"registry.ErrPrecondition":        {registry.ErrPrecondition, "precondition_failed", 412, 4},
	"registry.ErrIdempotencyMismatch": {registry.ErrIdempotencyMismatch, "idempotency_mismatch", 422, 1},
	"registry.ErrDigestMismatch":      {registry.ErrDigestMismatch, "digest_mismatch", 400, 5},
	"registry.ErrTooLarge":            {registry.ErrTooLarge, "too_large", 413, 1},
	"registry.ErrCorrupt":             {registry.ErrCorrupt, "corrupt", 500, 5},
	"registry.ErrReadOnly":            {registry.ErrReadOnly, "forbidden", 403, 1},
	"registry.ErrOutcomeUnknown":      {registry.ErrOutcomeUnknown, "outcome_unknown", 503, 1},
	"blob.ErrUnavailable":             {blob.ErrUnavailable, "unavailable", 503, 1},
	"blob.ErrDenied":                  {blob.ErrDenied, "unavailable", 503, 1},
	"blob.ErrNoBucket":                {blob.ErrNoBucket, "unavailable", 503, 1},
	"blob.ErrFull":                    {blob.ErrFull, "unavailable", 503, 1},
	"detector.ErrBadBody":             {detector.ErrBadBody, "bad_request", 400, 2},
	"detector.ErrBadEvent":            {detector.ErrBadEvent, "bad_request", 400, 2},
	"detector.ErrInvalid":             {detector.ErrInvalid, "bad_request", 400, 2},
	"detector.ErrTooLarge":            {detector.ErrTooLarge, "too_large", 413, 1},
	"detector.ErrNotADetector":        {detector.ErrNotADetector, "not_a_detector", 422, 1},
	"detector.ErrDisagrees":           {detector.ErrDisagrees, "corrupt", 500, 5},
	"detector.ErrNoRoom":              {detector.ErrNoRoom, "unavailable", 503, 1},
	"detector.ErrClosed":              {detector.ErrClosed, "unavailable", 503, 1},
	"blob.ErrStoreURL":                {blob.ErrStoreURL, "bad_request", 400, 2},
	"detector.ErrBusy":                {detector.ErrBusy, "unavailable", 503, 1},
	"detector.ErrTooMany":             {detector.ErrTooMany, "too_many_requests", 429, 1},
	"blob.ErrBroken":                  {blob.ErrBroken, "unavailable", 503, 1},
	"registry.ErrSignatureRequired":   {registry.ErrSignatureRequired, "signature_required", 422, 1},
	"registry.ErrBadSignature":        {registry.ErrBadSignature, "bad_signature", 422, 1},
	// These never leave the registry but by a mistake of ours, or beside another.
	"registry.ErrOutOfScope": {registry.ErrOutOfScope, "internal", 500, 1},
	"blob.ErrNotFound":       {blob.ErrNotFound, "internal", 500, 1},
	"blob.ErrPrecondition":   {blob.ErrPrecondition, "internal", 500, 1},
	"blob.ErrNotSent":        {blob.ErrNotSent, "internal", 500, 1},
	"blob.ErrInvalidKey":     {blob.ErrInvalidKey, "internal", 500, 1},
	"blob.ErrSize":           {blob.ErrSize, "internal", 500, 1},
	"blob.ErrRange":          {blob.ErrRange, "internal", 500, 1},
}

// declared finds the names of all exported errors of the packages below.
func declared(t *testing.T, packages ...string) (names []string) {
	t.Helper()
	for _, name := range packages {
		files, err := filepath.Glob(filepath.Join("..", name, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			file, err := parser.ParseFile(gotoken.NewFileSet(), path, source, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != gotoken.VAR {
					continue
				}
				for _, spec := range g.Specs {
					for _, id := range spec.(*ast.ValueSpec).Names {
						if strings.HasPrefix(id.Name, "Err") {
							names = append(names, name+"."+id.Name)
						}
					}
				}
			}
		}
	}
	return names
}

func TestEverySentinelHasAMeaning(t *testing.T) {
	names := declared(t, "registry", "blob", "detector")
	if len(names) < 20 {
		t.Fatalf("only %d sentinels found: %v", len(names), names)
	}
	for _, name := range names {
		want, ok := meanings[name]
		if !ok {
			t.Errorf("%s has no meaning here: add it to the table in problem.go, and to this one", name)
			continue
		}
		p := web.ProblemOf(fmt.Errorf("do something: %w: and why", want.err))
		if p.Code != want.code || p.Status != want.status || p.ExitCode() != want.exit {
			t.Errorf("%s is %s %d, exit %d; want %s %d, exit %d", name, p.Code, p.Status, p.ExitCode(), want.code, want.status, want.exit)
		}
		if p.Title == "" || p.Type != "about:blank" {
			t.Errorf("%s: problem is %+v", name, p)
		}
	}
	for name := range meanings {
		if !slices.Contains(names, name) {
			t.Errorf("%s is no sentinel any more", name)
		}
	}
}

// An error that means two things means the worse one: what is unknown is not "not
// done", and what is corrupt is not "not found".
func TestTheWorseMeaningCounts(t *testing.T) {
	for _, row := range []struct {
		err  error
		code string
	}{
		{&registry.OutcomeUnknown{Key: "k", Err: blob.ErrUnavailable}, "outcome_unknown"},
		{errors.Join(registry.ErrVersionDeleted, registry.ErrOutcomeUnknown), "outcome_unknown"},
		{fmt.Errorf("%w: %w", registry.ErrCorrupt, blob.ErrNotFound), "corrupt"},
		{fmt.Errorf("%w: %w", registry.ErrConflict, blob.ErrUnavailable), "conflict"},
	} {
		if p := web.ProblemOf(row.err); p.Code != row.code {
			t.Errorf("%v is %s, want %s", row.err, p.Code, row.code)
		}
	}
}

// The text of an error that is none of ours stays in the log.
func TestUnknownErrorsAreWithheld(t *testing.T) {
	p := web.ProblemOf(errors.New("password is hunter2"))
	if p.Code != "internal" || strings.Contains(p.Detail+p.Hint+p.Title, "hunter2") {
		t.Errorf("problem is %+v", p)
	}
}

func TestDetailIsBounded(t *testing.T) {
	p := web.ProblemOf(fmt.Errorf("%w: %s", registry.ErrInvalid, strings.Repeat("é", 5000)))
	if len(p.Detail) > 600 || !strings.HasSuffix(p.Detail, "…") {
		t.Errorf("detail has %d bytes", len(p.Detail))
	}
}
